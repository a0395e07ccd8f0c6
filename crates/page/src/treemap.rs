//! A squarified treemap: rectangles with given areas that are as square as possible.
//!
//! Source: M. Bruls, K. Huizing, J. J. van Wijk, "Squarified Treemaps", 2000.

/// A rectangle, in units of the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rectangle {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

impl Rectangle {
    pub(crate) fn area(self) -> f64 {
        self.width * self.height
    }

    fn shorter_side(self) -> f64 {
        self.width.min(self.height)
    }
}

/// Divides a rectangle by weights, which are sorted, largest first. A weight of zero gets an empty
/// rectangle.
pub(crate) fn divide(whole: Rectangle, weights: &[u64]) -> Vec<Rectangle> {
    let total: f64 = weights.iter().map(|weight| number(*weight)).sum();
    if total <= 0.0 {
        let empty = Rectangle {
            width: 0.0,
            height: 0.0,
            ..whole
        };
        return vec![empty; weights.len()];
    }
    let scale = whole.area() / total;
    let areas: Vec<f64> = weights
        .iter()
        .map(|weight| number(*weight) * scale)
        .collect();
    let mut rectangles = Vec::with_capacity(areas.len());
    let mut rest = whole;
    let mut areas = &areas[..];
    while !areas.is_empty() {
        let row = &areas[..row_length(areas, rest.shorter_side())];
        areas = &areas[row.len()..];
        rest = lay_out(row, rest, &mut rectangles);
    }
    rectangles
}

/// Returns how many areas belong into the next row: as many as make its worst rectangle better.
fn row_length(areas: &[f64], side: f64) -> usize {
    let mut sum = areas[0];
    let mut worst = worst_ratio(areas[0], areas[0], sum, side);
    for (count, area) in areas.iter().enumerate().skip(1) {
        let next = worst_ratio(areas[0], *area, sum + area, side);
        if next > worst {
            return count;
        }
        sum += area;
        worst = next;
    }
    areas.len()
}

/// Returns the worst ratio of sides in a row with these largest and smallest areas.
fn worst_ratio(largest: f64, smallest: f64, sum: f64, side: f64) -> f64 {
    let square = side * side;
    let ratio = (square * largest / (sum * sum)).max(sum * sum / (square * smallest));
    // Areas of zero do not count.
    if ratio.is_finite() { ratio } else { 0.0 }
}

/// Lays a row along the shorter side of `rest`, and returns what is left of it.
fn lay_out(row: &[f64], rest: Rectangle, rectangles: &mut Vec<Rectangle>) -> Rectangle {
    let sum: f64 = row.iter().sum();
    let side = rest.shorter_side();
    let depth = if side > 0.0 { sum / side } else { 0.0 };
    let is_column = rest.height <= rest.width;
    let mut along = 0.0;
    for area in row {
        let length = if depth > 0.0 { area / depth } else { 0.0 };
        rectangles.push(if is_column {
            Rectangle {
                x: rest.x,
                y: rest.y + along,
                width: depth,
                height: length,
            }
        } else {
            Rectangle {
                x: rest.x + along,
                y: rest.y,
                width: length,
                height: depth,
            }
        });
        along += length;
    }
    if is_column {
        Rectangle {
            x: rest.x + depth,
            width: (rest.width - depth).max(0.0),
            ..rest
        }
    } else {
        Rectangle {
            y: rest.y + depth,
            height: (rest.height - depth).max(0.0),
            ..rest
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a picture has fewer digits than a number of bytes"
)]
fn number(bytes: u64) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WHOLE: Rectangle = Rectangle {
        x: 10.0,
        y: 20.0,
        width: 300.0,
        height: 200.0,
    };

    proptest! {
        #[test]
        fn areas_are_proportional_and_apart(
            mut weights in proptest::collection::vec(0_u64..1 << 40, 1..60),
        ) {
            weights.sort_unstable_by(|a, b| b.cmp(a));
            let rectangles = divide(WHOLE, &weights);
            prop_assert_eq!(rectangles.len(), weights.len());
            let total: f64 = weights.iter().map(|it| number(*it)).sum();
            for (rectangle, weight) in rectangles.iter().zip(&weights) {
                let expected = if total > 0.0 { number(*weight) / total * WHOLE.area() } else { 0.0 };
                prop_assert!((rectangle.area() - expected).abs() < 1e-3, "{rectangle:?} {expected}");
                prop_assert!(rectangle.x >= WHOLE.x - 1e-6);
                prop_assert!(rectangle.y >= WHOLE.y - 1e-6);
                prop_assert!(rectangle.x + rectangle.width <= WHOLE.x + WHOLE.width + 1e-6);
                prop_assert!(rectangle.y + rectangle.height <= WHOLE.y + WHOLE.height + 1e-6);
            }
            for (at, a) in rectangles.iter().enumerate() {
                for b in &rectangles[at + 1..] {
                    let x = (a.x + a.width).min(b.x + b.width) - a.x.max(b.x);
                    let y = (a.y + a.height).min(b.y + b.height) - a.y.max(b.y);
                    prop_assert!(x < 1e-6 || y < 1e-6, "{a:?} {b:?}");
                }
            }
        }
    }

    #[test]
    fn equal_areas_become_squares() {
        let square = Rectangle {
            x: 0.0,
            y: 0.0,
            width: 100.0,
            height: 100.0,
        };
        for rectangle in divide(square, &[1, 1, 1, 1]) {
            assert_eq!((rectangle.width, rectangle.height), (50.0, 50.0));
        }
    }
}
