//! Every kernel against the portable one, over lane counts, lengths and windows.

use pystream_cipher::{Kernel, Lane, encrypt, encrypt_with};

/// SplitMix64, so that a failure repeats.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn block(&mut self) -> [u8; 16] {
        (u128::from(self.next()) << 64 | u128::from(self.next())).to_ne_bytes()
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

struct Message {
    key: [u8; 16],
    iv: [u8; 16],
    plain: Vec<u8>,
    cipher: Vec<u8>,
}

impl Message {
    /// Encrypted by the portable kernel, which the vectors check.
    fn new(random: &mut Random, blocks: usize) -> Self {
        let (key, iv, plain) = (random.block(), random.block(), random.bytes(16 * blocks));
        let mut cipher = plain.clone();
        encrypt_with(Kernel::Portable, [(&mut Lane::new(&key, &iv), &mut cipher[..])]);
        Self { key, iv, plain, cipher }
    }

    fn lane(&self) -> Lane {
        Lane::new(&self.key, &self.iv)
    }
}

fn check(kernel: Kernel, messages: &[Message]) {
    let mut lanes: Vec<Lane> = messages.iter().map(Message::lane).collect();
    let mut data: Vec<Vec<u8>> = messages.iter().map(|message| message.plain.clone()).collect();
    encrypt_with(kernel, lanes.iter_mut().zip(data.iter_mut().map(|data| &mut data[..])));
    for (n, (data, message)) in data.iter().zip(messages).enumerate() {
        assert!(*data == message.cipher, "{kernel:?}, lane {n} of {}", messages.len());
    }
}

#[test]
fn any_lane_count_with_unequal_lengths() {
    let mut random = Random(1);
    for lanes in (1..=33).chain([63, 64, 65, 130]) {
        // Empty lanes, lanes shorter and longer than a piece of any kernel, and one long enough to take turns.
        let messages: Vec<Message> = (0..lanes)
            .map(|_| {
                let blocks = match random.below(8) {
                    0 => 0,
                    1..=5 => random.below(40),
                    _ => random.below(700),
                };
                Message::new(&mut random, blocks)
            })
            .collect();
        Kernel::available().for_each(|kernel| check(kernel, &messages));
    }
}

#[test]
fn any_lane_count_with_equal_lengths() {
    let mut random = Random(2);
    for lanes in 1..=33 {
        let messages: Vec<Message> = (0..lanes).map(|_| Message::new(&mut random, 257)).collect();
        Kernel::available().for_each(|kernel| check(kernel, &messages));
    }
}

#[test]
fn nothing_to_do() {
    for kernel in Kernel::available() {
        encrypt_with(kernel, []);
        let mut random = Random(3);
        let messages: Vec<Message> = (0..20).map(|_| Message::new(&mut random, 0)).collect();
        check(kernel, &messages);
    }
}

#[test]
fn pieces_equal_the_whole() {
    let mut random = Random(4);
    for kernel in Kernel::available() {
        for lanes in [1, 2, 5, 8, 9, 15, 16, 17, 33] {
            let messages: Vec<Message> = (0..lanes)
                .map(|_| {
                    let blocks = random.below(300);
                    Message::new(&mut random, blocks)
                })
                .collect();
            let mut state: Vec<Lane> = messages.iter().map(Message::lane).collect();
            let mut data: Vec<Vec<u8>> = messages.iter().map(|message| message.plain.clone()).collect();
            let mut done = vec![0; lanes];
            while done.iter().zip(&data).any(|(done, data)| *done < data.len()) {
                let window = 16 * (1 + random.below(60));
                let mut work = Vec::new();
                for ((lane, data), done) in state.iter_mut().zip(&mut data).zip(&mut done) {
                    // Some lanes sit a round out.
                    let end = if random.below(4) == 0 { *done } else { data.len().min(*done + window) };
                    work.push((lane, &mut data[*done..end]));
                    *done = end;
                }
                encrypt_with(kernel, work);
            }
            for (data, message) in data.iter().zip(&messages) {
                assert!(*data == message.cipher, "{kernel:?}, {lanes} lanes");
            }
        }
    }
}

#[test]
fn any_alignment() {
    let mut random = Random(5);
    let message = Message::new(&mut random, 37);
    for kernel in Kernel::available() {
        for lanes in [1, 3, 8, 16] {
            for offset in 0..64 {
                let mut state: Vec<Lane> = (0..lanes).map(|_| message.lane()).collect();
                let mut data: Vec<Vec<u8>> =
                    (0..lanes).map(|_| vec![0xee; offset + message.plain.len() + 64]).collect();
                let end = offset + message.plain.len();
                data.iter_mut().for_each(|data| data[offset..end].copy_from_slice(&message.plain));
                encrypt_with(kernel, state.iter_mut().zip(data.iter_mut().map(|data| &mut data[offset..end])));
                for data in &data {
                    assert!(data[offset..end] == message.cipher, "{kernel:?}, {lanes} lanes at {offset}");
                    assert!(data[..offset].iter().chain(&data[end..]).all(|&byte| byte == 0xee), "{kernel:?} overran");
                }
            }
        }
    }
}

#[test]
fn the_best_kernel_is_one_of_the_available() {
    assert!(Kernel::Portable.is_available());
    assert_eq!(Kernel::available().next_back(), Some(Kernel::best()));
    let mut random = Random(6);
    let message = Message::new(&mut random, 9);
    let mut data = message.plain.clone();
    encrypt([(&mut message.lane(), &mut data[..])]);
    assert!(data == message.cipher);
}

#[test]
#[should_panic(expected = "a buffer of 17 bytes is not a whole number of AES blocks")]
fn a_torn_block_is_the_callers_mistake() {
    encrypt([(&mut Lane::new(&[0; 16], &[0; 16]), &mut [0; 17][..])]);
}

#[cfg(target_arch = "x86_64")]
#[test]
#[should_panic(expected = "this machine cannot run the ArmV8 kernel")]
fn a_kernel_of_another_machine_is_refused() {
    encrypt_with(Kernel::ArmV8, []);
}
