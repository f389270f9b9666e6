//! Any bytes as disk files: no panic, no unbounded allocation, no contradiction. Nothing is repaired.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    hypercbt_fuzz::vhdx::exercise(hypercbt_fuzz::vhdx::decode(input));
});
