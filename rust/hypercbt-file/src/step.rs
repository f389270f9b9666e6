//! Steps that safety rests on, each with a name, so that a test can leave one out and see that it is missed.
//!
//! Without the feature `mutants` [`left_out`] is `false` at compile time and nothing remains of it. A mutant is
//! switched on for one thread, so tests that run side by side do not meet; [`carried`] takes it to threads that
//! this one starts.
//!
//! ```
//! use hypercbt_file::step;
//!
//! // "mark.sync: a mark is durable before the write that it announces"
//! if !step::left_out("mark.sync") {
//!     // file.sync()?;
//! }
//! # step::with_mutant("mark.sync", || assert!(cfg!(not(feature = "mutants")) || step::left_out("mark.sync")));
//! # assert!(!step::left_out("mark.sync"));
//! ```

#[cfg(feature = "mutants")]
thread_local! {
    static MUTANT: std::cell::Cell<Option<&'static str>> = const { std::cell::Cell::new(None) };
}

/// Whether the step `name` is to be left out (or done in the wrong order), which only tests ask for.
#[cfg(feature = "mutants")]
pub fn left_out(name: &'static str) -> bool {
    MUTANT.get() == Some(name)
}

/// Whether the step `name` is to be left out, which only tests ask for.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
#[expect(clippy::inline_always, reason = "nothing may remain of it")]
pub const fn left_out(_name: &'static str) -> bool {
    false
}

/// `body` for another thread, with the step left out that is left out on this one.
pub fn carried<T>(body: impl FnOnce() -> T) -> impl FnOnce() -> T {
    #[cfg(feature = "mutants")]
    let mutant = MUTANT.get();
    move || {
        #[cfg(feature = "mutants")]
        MUTANT.set(mutant);
        body()
    }
}

/// Runs `body` with one step left out on this thread. Without the feature `mutants` it is only run.
pub fn with_mutant<T>(name: &'static str, body: impl FnOnce() -> T) -> T {
    #[cfg(feature = "mutants")]
    {
        struct Restore(Option<&'static str>);
        impl Drop for Restore {
            fn drop(&mut self) {
                MUTANT.set(self.0);
            }
        }
        let _restore = Restore(MUTANT.replace(Some(name)));
        body()
    }
    #[cfg(not(feature = "mutants"))]
    {
        let _ = name;
        body()
    }
}
