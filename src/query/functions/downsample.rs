//! Few points that look like many.

/// Largest-Triangle-Three-Buckets: the points of a line of `count` points that looks most like
/// the whole. The first and the last point stay; between them every bucket of equally many points
/// gives the one that spans the largest triangle with the point chosen before and the mean of the
/// bucket that follows. (Sveinn Steinarsson, *Downsampling Time Series for Visual Representation*,
/// University of Iceland, 2013, section 4.2.)
pub(super) fn lttb(points: &[(i64, f64)], count: usize) -> Vec<(i64, f64)> {
    let Some(last) = points.last().filter(|_| points.len() > count) else { return points.to_vec() };
    let buckets = count.saturating_sub(2);
    let begin = |bucket: usize| 1 + bucket * (points.len() - 2) / buckets.max(1);
    let mut chosen = vec![points[0]];
    let mut before = points[0];
    for bucket in 0..buckets {
        let (from, until) = (begin(bucket), begin(bucket + 1));
        let following = match bucket + 1 < buckets {
            true => &points[until..begin(bucket + 2)],
            false => std::slice::from_ref(last),
        };
        // Times as distances, so that no digit of a double is lost to the epoch.
        let x = |time: i64| (time - before.0) as f64;
        let many = following.len() as f64;
        let mean_x = following.iter().map(|point| x(point.0)).sum::<f64>() / many;
        let mean_y = following.iter().map(|point| point.1).sum::<f64>() / many - before.1;
        let (mut best, mut largest) = (points[from], -1.0);
        for point in &points[from..until] {
            let area = (x(point.0) * mean_y - mean_x * (point.1 - before.1)).abs();
            if area > largest {
                (best, largest) = (*point, area);
            }
        }
        chosen.push(best);
        before = best;
    }
    chosen.push(*last);
    chosen
}

/// M4: the first, last, lowest and highest point of each of `columns` equal spans of time, each
/// point once. A line drawn through them on so many columns of pixels is the line through all
/// points. Of equally low or high points the earliest is taken. (Uwe Jugel et al., *M4: A
/// Visualization-Oriented Time Series Data Aggregation*, PVLDB 7(10), 2014.)
pub(super) fn m4(points: &[(i64, f64)], columns: usize) -> Vec<(i64, f64)> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Vec::new() };
    let span = i128::from(last.0) - i128::from(first.0) + 1;
    let column =
        |point: &(i64, f64)| (i128::from(point.0) - i128::from(first.0)) * columns as i128 / span;
    let mut chosen = Vec::new();
    for group in points.chunk_by(|a, b| column(a) == column(b)) {
        let (mut low, mut high) = (0, 0);
        for (at, point) in group.iter().enumerate() {
            if point.1 < group[low].1 {
                low = at;
            }
            if point.1 > group[high].1 {
                high = at;
            }
        }
        let mut ends = [0, low.min(high), low.max(high), group.len() - 1].to_vec();
        ends.dedup();
        chosen.extend(ends.into_iter().map(|at| group[at]));
    }
    chosen
}
