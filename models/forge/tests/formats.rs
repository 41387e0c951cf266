//! Every number format gives the numbers that the `gguf` package gives (`data/dequant.py`).
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use outpost_forge::gguf::{Format, dequantise};
use serde_json::Value;

const FORMATS: [Format; 9] = [
    Format::BF16,
    Format::Q4_0,
    Format::Q4_1,
    Format::Q5_0,
    Format::Q5_1,
    Format::Q8_0,
    Format::Q4_K,
    Format::Q5_K,
    Format::Q6_K,
];

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

#[test]
fn dequantised_blocks_equal_the_reference() {
    let reference: Value = serde_json::from_str(include_str!("data/dequant.json")).unwrap();
    for format in FORMATS {
        let case = &reference[format.name()];
        let wanted: Vec<f64> =
            case["numbers"].as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect();
        let mut numbers = vec![0.0; wanted.len()];
        dequantise(format, &hex(case["bytes"].as_str().unwrap()), &mut numbers);
        for (i, (got, wanted)) in numbers.iter().zip(&wanted).enumerate() {
            let difference = (f64::from(*got) - wanted).abs();
            assert!(
                difference <= 1e-5 * wanted.abs() + 1e-7,
                "{} {i}: {got} and not {wanted}",
                format.name()
            );
        }
    }
}
