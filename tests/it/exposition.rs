//! What a real Prometheus recorder would show to whoever scrapes it.

use std::collections::{BTreeMap, BTreeSet};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};

/// Every duration falls into one of these; what matters here is that there are any, or the exporter
/// makes summaries.
const BUCKETS: [f64; 2] = [0.01, 1.0];

/// One scrape.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    /// By metric: what it is, and what the exposition says about it.
    pub(crate) kinds: BTreeMap<String, String>,
    pub(crate) helps: BTreeMap<String, String>,
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct Sample {
    metric: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// A recorder that nobody but the test has.
pub(crate) fn recorder() -> PrometheusRecorder {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &BUCKETS)
        .expect("there are buckets")
        .build_recorder()
}

impl Exposition {
    pub(crate) fn of(recorder: &PrometheusRecorder) -> Self {
        Self::parse(&recorder.handle().render())
    }

    fn parse(text: &str) -> Self {
        let mut exposition = Self::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let words = |rest: &str| {
                let (metric, words) = rest.split_once(' ').expect("a name, then words");
                (metric.to_owned(), words.to_owned())
            };
            if let Some(rest) = line.strip_prefix("# HELP ") {
                exposition.helps.extend([words(rest)]);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                exposition.kinds.extend([words(rest)]);
            } else {
                exposition.samples.push(Sample::parse(line));
            }
        }
        exposition
    }

    /// The labels of a metric, and every value that each of them has somewhere.
    pub(crate) fn labels(&self, metric: &str) -> BTreeMap<String, BTreeSet<String>> {
        let mut labels: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for sample in self.samples.iter().filter(|sample| sample.is_of(metric)) {
            for (label, value) in sample.labels.iter().filter(|(label, _)| *label != "le") {
                labels.entry(label.clone()).or_default().insert(value.clone());
            }
        }
        labels
    }

    /// The value of the one sample with these labels, and others or not.
    pub(crate) fn value(&self, metric: &str, labels: &[(&str, &str)]) -> f64 {
        let found = self.all(metric, labels);
        assert_eq!(found.len(), 1, "{metric}{labels:?}: {found:?}");
        found[0].value
    }

    /// The values of a label among the series of one layer.
    pub(crate) fn values(&self, metric: &str, label: &str, layer: &str) -> Vec<&str> {
        let samples = self.all(metric, &[("layer", layer)]).into_iter();
        let values: BTreeSet<_> = samples.map(|sample| sample.labels[label].as_str()).collect();
        values.into_iter().collect()
    }

    /// The sum of all samples with these labels; zero if there is none.
    pub(crate) fn sum(&self, metric: &str, labels: &[(&str, &str)]) -> f64 {
        self.all(metric, labels).iter().map(|sample| sample.value).sum()
    }

    fn all(&self, metric: &str, labels: &[(&str, &str)]) -> Vec<&Sample> {
        let bears = |sample: &Sample, (label, value): &(&str, &str)| {
            sample.labels.get(*label).is_some_and(|borne| borne == value)
        };
        let of_metric = self.samples.iter().filter(|sample| sample.metric == metric);
        of_metric.filter(|sample| labels.iter().all(|label| bears(sample, label))).collect()
    }
}

impl Sample {
    fn parse(line: &str) -> Self {
        let (series, value) = line.rsplit_once(' ').expect("a series and its value");
        let (metric, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels = labels.trim_end_matches('}').split_terminator(',').map(|label| {
            let (label, value) = label.split_once('=').expect("a label and its value");
            (label.to_owned(), value.trim_matches('"').to_owned())
        });
        let value = value.parse().expect("a number");
        Self { metric: metric.to_owned(), labels: labels.collect(), value }
    }

    /// Whether it belongs to a metric, under its name or, of a histogram, one of its parts.
    fn is_of(&self, metric: &str) -> bool {
        let part = self.metric.strip_prefix(metric);
        part.is_some_and(|part| ["", "_bucket", "_sum", "_count"].contains(&part))
    }
}
