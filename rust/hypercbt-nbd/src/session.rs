//! One connection from its first byte to its last.

use std::{
    io::{self, BufReader, Read, Write},
    thread,
};

use crossbeam_channel::{Sender, bounded};

use crate::{
    Command, Export, Options, Stats, Violation,
    answer::{Job, Worker},
    budget::Budget,
    handshake::{Agreed, negotiate},
    protocol::{DISCONNECT, MAX_REQUEST_BYTES},
    reply::Replies,
    request::{Action, Request},
    stats::Counters,
};

/// Why a connection ended before its client wanted it to.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The client has gone, or is out of reach.
    Io,
    /// The client broke a rule.
    Violation(Violation),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Self::Violation(Violation::TooSlow),
            // Whoever has gone tells us in one of several ways, and needs no answer.
            _ => Self::Io,
        }
    }
}

impl From<Violation> for Ended {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

/// Serves one client whose bytes come and go by other ways than a socket of ours.
///
/// Returns when the client has disconnected, or its bytes have ended.
pub fn serve_stream(
    mut reader: impl Read,
    mut writer: impl Write + Send,
    export: &dyn Export,
    options: &Options,
) -> Stats {
    let counters = Counters::default();
    counters.connected();
    let ended = match negotiate(&mut reader, &mut writer, export) {
        Ok(Some(agreed)) => transmit(reader, writer, export, agreed, options, &counters),
        Ok(None) => Ok(()),
        Err(ended) => Err(ended),
    };
    if let Err(ended) = ended {
        ended.count(&counters);
    }
    counters.finish()
}

impl Ended {
    /// Counts a rule that was broken.
    pub(crate) fn count(self, counters: &Counters) {
        if let Self::Violation(violation) = self {
            counters.violated(violation);
        }
    }
}

/// Reads requests and has them answered, until the client goes. All are answered when this returns.
pub(crate) fn transmit<W: Write + Send>(
    reader: impl Read,
    writer: W,
    export: &dyn Export,
    agreed: Agreed,
    options: &Options,
    counters: &Counters,
) -> Result<(), Ended> {
    let replies = Replies::new(writer);
    let budget = Budget::new(options.request_bytes.0.max(MAX_REQUEST_BYTES.into()));
    let mut requests = Requests {
        reader: BufReader::with_capacity(64 << 10, reader),
        export,
        agreed,
        budget: &budget,
    };
    thread::scope(|scope| {
        // Workers that are all busy hold up the reader, and with it the client.
        let (jobs, queue) = bounded(options.workers.get());
        let worker = || {
            let queue = queue.clone();
            let mut worker = Worker {
                export,
                agreed,
                replies: &replies,
                counters,
                buffer: Vec::new(),
            };
            let work = move || worker.run(&queue);
            thread::Builder::new().spawn_scoped(scope, work)
        };
        let wanted = 0..options.workers.get();
        let workers: Vec<_> = wanted.map_while(|_| worker().ok()).collect();
        // Fewer than wanted do as well, but without any nobody would answer.
        if workers.is_empty() {
            return Err(Ended::Io);
        }
        let ended = requests.hand_out(&jobs, || replies.is_broken());
        drop(jobs);
        for worker in workers {
            // Until the thread has gone, not only its work: the next connection needs the room.
            worker.join().expect("a worker does not panic");
        }
        ended
    })
}

/// The requests of a connection, one after the other.
struct Requests<'a, R> {
    reader: BufReader<R>,
    export: &'a dyn Export,
    agreed: Agreed,
    budget: &'a Budget,
}

impl<'a, R: Read> Requests<'a, R> {
    fn hand_out(
        &mut self,
        jobs: &Sender<Job<'a>>,
        is_broken: impl Fn() -> bool,
    ) -> Result<(), Ended> {
        while let Some(request) = Request::read(&mut self.reader)? {
            if request.number == DISCONNECT || is_broken() {
                break;
            }
            let job = self.job(&request)?;
            if jobs.send(job).is_err() {
                break; // no worker is left
            }
        }
        Ok(())
    }

    /// The job that a request makes. What is to be written is read in any case: the next request follows it.
    fn job(&mut self, request: &Request) -> Result<Job<'a>, Ended> {
        let checked = request.check(self.export, self.agreed);
        let mut job = Job {
            cookie: request.cookie,
            command: request.command(),
            checked,
            payload: Vec::new(),
            share: None,
        };
        match (job.command, checked) {
            (Some(Command::Write), _) if request.len > MAX_REQUEST_BYTES => {
                return Err(Violation::WriteTooLong { len: request.len }.into());
            }
            (Some(Command::Write), Ok(_)) => {
                job.share = Some(self.budget.take(request.len.into()));
                job.payload = vec![0; request.len as usize];
                self.reader.read_exact(&mut job.payload)?;
            }
            (Some(Command::Write), Err(_)) => self.skip(request.len)?,
            (_, Ok(Action::Read { extent, .. })) if !self.agreed.structured => {
                job.share = Some(self.budget.take(extent.len().0));
            }
            _ => {}
        }
        Ok(job)
    }

    fn skip(&mut self, len: u32) -> Result<(), Ended> {
        let mut rest = (&mut self.reader).take(len.into());
        let skipped = io::copy(&mut rest, &mut io::sink())?;
        (skipped == u64::from(len)).then_some(()).ok_or(Ended::Io)
    }
}
