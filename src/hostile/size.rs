//! Sizes of items as DynamoDB counts them, and the units that they cost.

use serde_json::Value;

/// The write units of one item of at most `before` and `after` bytes, 0 where it was not, or is not,
/// there: the larger image, in KiB, at least one.
pub(super) fn write_units(before: usize, after: usize) -> f64 {
    before.max(after).div_ceil(1024).max(1) as f64
}

/// The read units of `bytes`: half as many where an old value will do.
pub(super) fn read_units(bytes: usize, consistent: bool) -> f64 {
    let units = bytes.div_ceil(4096).max(1) as f64;
    if consistent { units } else { units / 2.0 }
}

/// An item's bytes: names and values. Nothing has none.
pub(super) fn of_item(item: &Value) -> usize {
    let attributes = item.as_object().into_iter().flatten();
    attributes.map(|(name, value)| name.len() + of_value(value)).sum()
}

fn of_value(value: &Value) -> usize {
    let Some((kind, content)) = value.as_object().and_then(|typed| typed.iter().next()) else {
        return 0;
    };
    let text = content.as_str().unwrap_or_default();
    let each = content.as_array().map_or(&[][..], Vec::as_slice);
    let of_texts = |of: fn(&str) -> usize| each.iter().filter_map(Value::as_str).map(of).sum();
    match kind.as_str() {
        "S" => text.len(),
        "B" => of_base64(text),
        "N" => of_number(text),
        "SS" => of_texts(str::len),
        "BS" => of_texts(of_base64),
        "NS" => of_texts(of_number),
        "L" => 3 + each.iter().map(|value| 1 + of_value(value)).sum::<usize>(),
        "M" => {
            let entries = content.as_object().into_iter().flatten();
            3 + entries.map(|(name, value)| 1 + name.len() + of_value(value)).sum::<usize>()
        }
        _ => 1,
    }
}

fn of_base64(text: &str) -> usize {
    let padding = text.bytes().rev().take_while(|byte| *byte == b'=').count();
    (text.len() / 4 * 3).saturating_sub(padding)
}

/// A byte for two significant digits, and one more.
fn of_number(text: &str) -> usize {
    let digits = text.split(['e', 'E']).next().unwrap_or_default();
    let digits: String = digits.chars().filter(char::is_ascii_digit).collect();
    digits.trim_matches('0').len().div_ceil(2) + 1
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn units_round_up_at_their_limits() {
        assert_eq!([(0, 0), (0, 1024), (1025, 1)].map(|(b, a)| write_units(b, a)), [1.0, 1.0, 2.0]);
        assert_eq!([0, 4096, 4097].map(|bytes| read_units(bytes, true)), [1.0, 1.0, 2.0]);
        assert_eq!(read_units(1, false), 0.5);
    }

    #[test]
    fn items_are_names_and_values() {
        // "aGVsbG8=" is five bytes.
        let item = json!({
            "pk": { "S": "abc" }, "b": { "B": "aGVsbG8=" }, "n": { "N": "4000000000020" },
            "m": { "M": { "k": { "BOOL": true } } }, "l": { "L": [{ "NULL": true }] },
            "s": { "SS": ["a", "bc"] },
        });
        assert_eq!(of_item(&item), (2 + 3) + (1 + 5) + (1 + 7) + (1 + 6) + (1 + 5) + (1 + 3));
        assert_eq!(of_item(&Value::Null), 0);
    }
}
