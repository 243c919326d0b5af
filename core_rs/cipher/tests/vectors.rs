//! Published vectors, through every kernel of this machine, in company of other lanes and alone.

mod common;

use pystream_cipher::{Kernel, Lane, encrypt_with};

struct Vector {
    source: &'static str,
    key: &'static str,
    iv: &'static str,
    plain: &'static str,
    cipher: &'static str,
}

const VECTORS: &[Vector] = &[
    Vector {
        source: "NIST SP 800-38A F.2.1 CBC-AES128.Encrypt",
        key: "2b7e151628aed2a6abf7158809cf4f3c",
        iv: "000102030405060708090a0b0c0d0e0f",
        plain: "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51\
                30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710",
        cipher: "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2\
                 73bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7",
    },
    Vector {
        source: "RFC 3602 §4 case 1",
        key: "06a9214036b8a15b512e03d534120006",
        iv: "3dafba429d9eb430b422da802c9fac41",
        plain: "53696e676c6520626c6f636b206d7367",
        cipher: "e353779c1079aeb82708942dbe77181a",
    },
    Vector {
        source: "RFC 3602 §4 case 2",
        key: "c286696d887c9aa0611bbb3e2025a45a",
        iv: "562e17996d093d28ddb3ba695a2e6f58",
        plain: "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
        cipher: "d296cd94c2cccf8a3a863028b5e1dc0a7586602d253cfff91b8266bea6d61ab1",
    },
    Vector {
        source: "RFC 3602 §4 case 3",
        key: "6c3ea0477630ce21a2ce334aa746c2cd",
        iv: "c782dc4c098c66cbd9cd27d825682c81",
        plain: "5468697320697320612034382d62797465206d657373616765202865786163746c\
                7920332041455320626c6f636b7329",
        cipher: "d0a02b3836451753d493665d33f0e8862dea54cdb293abc7506939276772f8d5\
                 021c19216bad525c8579695d83ba2684",
    },
    Vector {
        source: "RFC 3602 §4 case 4",
        key: "56e47a38c5598974bc46903dba290349",
        iv: "8ce82eefbea0da3c44699ed7db51b7d9",
        plain: "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf\
                c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf",
        cipher: "c30e32ffedc0774e6aff6af0869f71aa0f3af07a9a31a9c684db207eb0ef8e4e\
                 35907aa632c3ffdf868bb7b29d3d46ad83ce9f9a102ee99d49a53e87f4c3da55",
    },
];

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}

fn lane(vector: &Vector) -> Lane {
    Lane::new(&hex(vector.key).try_into().unwrap(), &hex(vector.iv).try_into().unwrap())
}

#[test]
fn published_vectors_alone() {
    for kernel in Kernel::available() {
        for vector in VECTORS {
            let mut data = hex(vector.plain);
            encrypt_with(kernel, [(&mut lane(vector), &mut data[..])]);
            assert_eq!(data, hex(vector.cipher), "{kernel:?}: {}", vector.source);
            common::decrypt(hex(vector.key).try_into().unwrap(), hex(vector.iv).try_into().unwrap(), &mut data);
            assert_eq!(data, hex(vector.plain), "decrypt: {}", vector.source);
        }
    }
}

#[test]
fn published_vectors_together() {
    for kernel in Kernel::available() {
        let cases: Vec<&Vector> = VECTORS.iter().cycle().take(13).collect();
        let mut lanes: Vec<Lane> = cases.iter().map(|vector| lane(vector)).collect();
        let mut data: Vec<Vec<u8>> = cases.iter().map(|vector| hex(vector.plain)).collect();
        encrypt_with(kernel, lanes.iter_mut().zip(data.iter_mut().map(|data| &mut data[..])));
        for (data, vector) in data.iter().zip(cases) {
            assert_eq!(*data, hex(vector.cipher), "{kernel:?}: {}", vector.source);
        }
    }
}

/// A long chain, whose last block depends on each block before it. The expected one is OpenSSL's (3.0.19):
///
/// ```text
/// head -c 1600000 /dev/zero | openssl enc -aes-128-cbc -nopad -K 2b7e151628aed2a6abf7158809cf4f3c \
///     -iv 000102030405060708090a0b0c0d0e0f | tail -c 16
/// ```
#[test]
fn long_runs_end_as_openssl_says() {
    for kernel in Kernel::available() {
        for count in [1, kernel.lanes()] {
            let mut lanes: Vec<Lane> = (0..count).map(|_| lane(&VECTORS[0])).collect();
            let mut data = vec![vec![0; 1_600_000]; count];
            encrypt_with(kernel, lanes.iter_mut().zip(data.iter_mut().map(|data| &mut data[..])));
            for data in data {
                assert_eq!(data[1_599_984..], hex("de321c0a83b2094a1dae791c5054c046"), "{kernel:?}, {count} lanes");
            }
        }
    }
}

#[test]
fn decryption_undoes_a_long_run() {
    let key = [0x5a; 16];
    let mut data: Vec<u8> = (0..1_000_000_u32 / 16 * 16).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let plain = data.clone();
    encrypt_with(Kernel::best(), [(&mut Lane::new(&key, &[1; 16]), &mut data[..])]);
    common::decrypt(key, [1; 16], &mut data);
    assert_eq!(data, plain);
}
