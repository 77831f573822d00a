//! Small charts drawn with block characters.

/// Returns a bar of `width` characters, filled by a share from 0 to 1.
pub(crate) fn fill_bar(share: f64, width: usize) -> String {
    let full = eighths(share, width) / 8;
    let full = full.max(usize::from(share > 0.0)).min(width);
    format!("{}{}", "▇".repeat(full), "▁".repeat(width - full))
}

/// Returns a bar whose length is a share from 0 to 1 of `width` characters, exact to an eighth of a character.
pub(crate) fn bar(share: f64, width: usize) -> String {
    let eighths = eighths(share, width);
    let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    format!("{}{}", "█".repeat(eighths / 8), rest[eighths % 8])
}

/// Returns a line of bars of these heights; every height above zero is visible.
pub(crate) fn sparkline(heights: &[u64]) -> String {
    let levels = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let highest = heights.iter().copied().max().unwrap_or_default().max(1);
    let level = |height: u64| match height {
        0 => ' ',
        _ => levels[(u128::from(height) * 7 / u128::from(highest)) as usize],
    };
    heights.iter().map(|&height| level(height)).collect()
}

fn eighths(share: f64, width: usize) -> usize {
    (share.clamp(0.0, 1.0) * width as f64 * 8.0).round() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_share() {
        assert_eq!(fill_bar(0.9, 8), "▇▇▇▇▇▇▇▁");
        assert_eq!(fill_bar(0.001, 4), "▇▁▁▁");
        assert_eq!(fill_bar(0.0, 4), "▁▁▁▁");
        assert_eq!(fill_bar(7.0, 2), "▇▇");
        assert_eq!(bar(0.5, 3), "█▌");
        assert_eq!(bar(0.0, 3), "");
    }

    #[test]
    fn sparklines_show_every_height_above_zero() {
        assert_eq!(sparkline(&[0, 1, 50, 100]), " ▁▄█");
        assert_eq!(sparkline(&[]), "");
    }
}
