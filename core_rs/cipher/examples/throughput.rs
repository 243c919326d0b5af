//! Prints the speed of each kernel by lane count.
//!
//! `taskset -c 0 cargo run --release -p pystream-cipher --example throughput -- [BYTES A LANE] [LANES,...]`
//!
//! Each lane has a key and a buffer of its own, laid out like the windows of a pump. The figure is that of the fastest
//! of many runs: other work on the machine can only slow a run. Cycles are those of the time-stamp counter, which ticks
//! at the processor's nominal frequency, not at the one it runs at.

use std::time::{Duration, Instant};

use pystream_cipher::{Kernel, Lane, encrypt_with};

fn main() {
    let mut args = std::env::args().skip(1);
    let len = args.next().map_or(1_500_000, |text| text.parse::<usize>().expect("bytes a lane")) / 16 * 16;
    let counts: Vec<usize> = args.next().map_or(vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 24, 33], |text| {
        text.split(',').map(|count| count.parse().expect("a lane count")).collect()
    });
    println!("{len} bytes a lane; the best kernel here is {:?}", Kernel::best());
    println!("{:<10} {:>5} {:>8} {:>16} {:>8}", "kernel", "lanes", "GB/s", "TSC cycles/byte", "x 1 lane");
    for kernel in Kernel::available() {
        let mut single = None;
        for &count in &counts {
            let (seconds, ticks) = measure(kernel, count, len);
            let bytes = (len * count) as f64;
            let speed = bytes / seconds / 1e9;
            let ratio = speed / *single.get_or_insert(speed);
            println!("{:<10} {count:>5} {speed:>8.2} {:>16.3} {ratio:>8.2}", format!("{kernel:?}"), ticks / bytes);
        }
    }
}

/// Seconds and counter ticks for one pass over all lanes.
fn measure(kernel: Kernel, count: usize, len: usize) -> (f64, f64) {
    let mut lanes: Vec<Lane> = (0..count).map(|n| Lane::new(&[n as u8; 16], &[!n as u8; 16])).collect();
    let stride = len.next_multiple_of(64) + 17 * 64;
    let mut memory = vec![1; stride * count + 64];
    let start = memory.as_ptr().align_offset(64);
    let mut pass = || {
        let buffers = memory[start..].chunks_exact_mut(stride).map(|buffer| &mut buffer[..len]);
        encrypt_with(kernel, lanes.iter_mut().zip(buffers));
    };
    // Short passes are repeated, so that reading the clock does not count.
    let repeats = (500_000 / (len * count)).max(1);
    pass();
    let mut fastest = (f64::INFINITY, f64::INFINITY);
    let (mut runs, deadline) = (0, Instant::now() + Duration::from_millis(300));
    while runs < 5 || Instant::now() < deadline {
        let (start, tick) = (Instant::now(), ticks());
        (0..repeats).for_each(|_| pass());
        let cycles = (ticks() - tick) as f64;
        let run = (start.elapsed().as_secs_f64() / repeats as f64, cycles / repeats as f64);
        if run.0 < fastest.0 {
            fastest = run;
        }
        runs += 1;
    }
    fastest
}

#[cfg(target_arch = "x86_64")]
fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has the instruction, and it touches no memory.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
fn ticks() -> u64 {
    0
}
