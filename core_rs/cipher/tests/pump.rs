//! The pump: any number of jobs of any length, and every way to stop.

mod common;

use std::cell::RefCell;
use std::rc::Rc;

use pystream_cipher::{Job, Lane, Stop, Windows, pump};

const WINDOW: usize = 128;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    Next,
    Fill(usize),
    Drain(usize),
    Finish,
}

#[derive(Debug, Default)]
struct Output {
    bytes: Vec<u8>,
    drains: usize,
    finished: bool,
}

struct Memory {
    plain: Vec<u8>,
    at: usize,
    fills: usize,
    output: Rc<RefCell<Output>>,
    fault: Option<Fault>,
}

impl Job for Memory {
    type Error = Fault;

    fn fill(&mut self, window: &mut [u8]) -> Result<usize, Fault> {
        assert_eq!(window.len(), WINDOW);
        assert_eq!(window.as_ptr().align_offset(64), 0);
        if self.fault == Some(Fault::Fill(self.fills)) {
            return Err(Fault::Fill(self.fills));
        }
        self.fills += 1;
        window.fill(0xee);
        let rest = &self.plain[self.at..];
        let count = rest.len().min(window.len());
        window[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }

    fn drain(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let mut output = self.output.borrow_mut();
        assert!(!bytes.is_empty());
        if self.fault == Some(Fault::Drain(output.drains)) {
            return Err(Fault::Drain(output.drains));
        }
        output.drains += 1;
        output.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self) -> Result<(), Fault> {
        self.output.borrow_mut().finished = true;
        if self.fault == Some(Fault::Finish) { Err(Fault::Finish) } else { Ok(()) }
    }
}

fn plain(job: usize, len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 + job * 31) as u8).collect()
}

fn secret(job: usize) -> ([u8; 16], [u8; 16]) {
    ([job as u8; 16], [!job as u8; 16])
}

fn lane(job: usize) -> Lane {
    let (key, iv) = secret(job);
    Lane::new(&key, &iv)
}

/// Every third job stays clear.
fn is_clear(job: usize) -> bool {
    job % 3 == 2
}

struct Run {
    result: Result<(), Stop<Fault>>,
    outputs: Vec<Rc<RefCell<Output>>>,
    asked: usize,
}

fn run(lanes: usize, lens: &[usize], fault: Option<(usize, Fault)>, cancel_after: usize) -> Run {
    let outputs: Vec<Rc<RefCell<Output>>> = lens.iter().map(|_| Rc::default()).collect();
    let mut asked = 0;
    let mut rounds = 0;
    let next = || {
        let job = asked;
        asked += 1;
        let fault = fault.filter(|(at, _)| *at == job).map(|(_, fault)| fault);
        if fault == Some(Fault::Next) {
            return Some(Err(Fault::Next));
        }
        let plain = plain(job, *lens.get(job)?);
        let memory = Memory { plain, at: 0, fills: 0, output: Rc::clone(&outputs[job]), fault };
        Some(Ok((memory, (!is_clear(job)).then(|| lane(job)))))
    };
    let cancelled = || {
        rounds += 1;
        rounds > cancel_after
    };
    let result = pump(&mut Windows::new(lanes, WINDOW), next, cancelled);
    Run { result, outputs, asked }
}

fn check(job: usize, len: usize, output: &Output) {
    assert!(output.finished, "job {job} of {len} bytes was not finished");
    if is_clear(job) {
        assert_eq!(output.bytes, plain(job, len), "clear job {job} of {len} bytes");
        return;
    }
    assert_eq!(output.bytes.len(), pystream_cipher::padded_len(len));
    let mut bytes = output.bytes.clone();
    let (key, iv) = secret(job);
    common::decrypt(key, iv, &mut bytes);
    let padding = bytes.split_off(len);
    assert_eq!(bytes, plain(job, len), "job {job} of {len} bytes");
    assert!(padding.iter().all(|&byte| usize::from(byte) == padding.len()), "padding of job {job} of {len} bytes");
}

#[test]
fn every_length_around_a_window_with_fewer_and_more_jobs_than_lanes() {
    let lens: Vec<usize> = (0..=2 * WINDOW + 17).collect();
    for lanes in [1, 3, 16, 300] {
        let run = run(lanes, &lens, None, usize::MAX);
        assert_eq!(run.result, Ok(()));
        assert_eq!(run.asked, lens.len() + 1, "`next` is not asked again after it said None");
        for (job, (output, &len)) in run.outputs.iter().zip(&lens).enumerate() {
            check(job, len, &output.borrow());
        }
    }
}

#[test]
fn no_jobs() {
    assert_eq!(run(8, &[], None, usize::MAX).result, Ok(()));
}

#[test]
fn lanes_stay_full() {
    // Two lanes, one long job: the short ones pass through the other lane meanwhile, one a round.
    let run = run(2, &[10 * WINDOW, 5, 5, 5, 5, 5], None, 5);
    assert_eq!(run.result, Err(Stop::Cancelled));
    assert!(run.outputs[1..].iter().all(|output| output.borrow().finished));
    assert!(!run.outputs[0].borrow().finished);
}

#[test]
fn an_error_stops_all_and_says_which_job() {
    let lens = [300, 20, 1000, 400, 50, 900];
    for (job, fault) in [
        (0, Fault::Next),
        (4, Fault::Next),
        (0, Fault::Fill(0)),
        (3, Fault::Fill(2)),
        (2, Fault::Drain(0)),
        (5, Fault::Drain(3)),
        (1, Fault::Finish),
        (5, Fault::Finish),
    ] {
        let run = run(2, &lens, Some((job, fault)), usize::MAX);
        assert_eq!(run.result, Err(Stop::Failed { job, error: fault }));
        assert!(run.asked <= job + 3, "jobs were still taken after the failure of {job}");
        for (n, output) in run.outputs.iter().enumerate().filter(|(n, _)| *n != job) {
            let output = output.borrow();
            if output.finished {
                check(n, lens[n], &output);
            }
        }
    }
}

#[test]
fn cancelled_before_the_first_round_takes_no_job() {
    let run = run(4, &[100, 100], None, 0);
    assert_eq!(run.result, Err(Stop::Cancelled));
    assert_eq!(run.asked, 0);
}

#[test]
fn windows_serve_one_run_after_the_other() {
    let mut windows = Windows::new(3, WINDOW - 5);
    assert_eq!((windows.lanes(), windows.window_len()), (3, WINDOW));
    for len in [0, WINDOW, 1000] {
        let output = Rc::<RefCell<Output>>::default();
        let mut job = Some(Memory { plain: plain(0, len), at: 0, fills: 0, output: Rc::clone(&output), fault: None });
        pump(&mut windows, || job.take().map(|job| Ok((job, Some(lane(0))))), || false).unwrap();
        check(0, len, &output.borrow());
    }
}

#[test]
#[should_panic(expected = "job 0 filled 129 bytes of 128")]
fn a_job_cannot_fill_more_than_its_window() {
    struct Boaster;
    impl Job for Boaster {
        type Error = Fault;
        fn fill(&mut self, window: &mut [u8]) -> Result<usize, Fault> {
            Ok(window.len() + 1)
        }
        fn drain(&mut self, _: &[u8]) -> Result<(), Fault> {
            Ok(())
        }
        fn finish(self) -> Result<(), Fault> {
            Ok(())
        }
    }
    let _ = pump(&mut Windows::new(1, WINDOW), || Some(Ok((Boaster, None))), || false);
}

#[test]
fn a_stop_says_what_happened() {
    let error = std::io::Error::other("disk full");
    assert_eq!(Stop::Failed { job: 3, error }.to_string(), "job 3: disk full");
    assert_eq!(Stop::<std::io::Error>::Cancelled.to_string(), "cancelled");
}
