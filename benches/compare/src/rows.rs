//! The rows: which loads are put on which servers, and what is to be reached.

use registry_load_driver::registry::Push;

use crate::arena::{Arena, DEBIAN, NGINX, OURS, Sizes};
use crate::load::Load;
use crate::load::collect::Collect;
use crate::load::connections::Connections;
use crate::load::limits::Limits;
use crate::load::listings::Listing;
use crate::load::pulls::{Over, Pulls};
use crate::load::pushes::{Blobs, Images, Mixed};
use crate::load::requests::Manifests;
use crate::load::start::Start;
use crate::measure::Metric;
use crate::options::Options;
use crate::server::Program;

/// The name that Distribution 3 must be given by `--peer`; no Debian package has it.
pub(crate) const V3: &str = "v3";

/// One comparison.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) title: String,
    /// The first is what targets are about, on [`OURS`].
    pub(crate) variants: Vec<Variant>,
    pub(crate) targets: Vec<Target>,
    pub(crate) least_rounds: u32,
    /// One round is enough, whatever is asked for.
    pub(crate) once: bool,
    /// Cannot be run with a server that was not started here.
    pub(crate) starts_only: bool,
}

/// One load, and the programs that carry it.
pub(crate) struct Variant {
    /// Behind the program's name; empty for the first.
    pub(crate) suffix: &'static str,
    pub(crate) on: On,
    pub(crate) load: Make,
}

/// A load may depend on the sizes and the program.
pub(crate) type Make = Box<dyn Fn(&Sizes, &Program) -> Box<dyn Load>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Ours,
    Registries,
    All,
}

/// What is to be reached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) metric: Metric,
    /// The label of who it is compared with; nothing for an absolute figure.
    pub(crate) against: Option<&'static str>,
    pub(crate) bound: Bound,
    pub(crate) must: Option<f64>,
    pub(crate) aim: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    AtLeast,
    AtMost,
}

impl On {
    pub(crate) fn covers(self, program: &Program) -> bool {
        match self {
            Self::Ours => program.name == OURS,
            Self::Registries => program.is_registry(),
            Self::All => true,
        }
    }
}

impl Target {
    pub(crate) fn met(&self, bound: f64, figure: f64) -> bool {
        match self.bound {
            Bound::AtLeast => figure >= bound,
            Bound::AtMost => figure <= bound,
        }
    }
}

pub(crate) fn all(options: &Options) -> Vec<Row> {
    let mut rows = Vec::new();
    pushes(&mut rows);
    pulls(&mut rows);
    manifests(&mut rows);
    listings(&mut rows, options);
    collections(&mut rows, options);
    processes(&mut rows);
    if options.limits {
        rows.push(limits());
    }
    let names: Vec<String> = rows.iter().map(|row| row.name.clone()).collect();
    rows.retain(|row| options.wants(&row.name, &names));
    rows
}

fn pushes(rows: &mut Vec<Row>) {
    let blobs = |how: Push| move |sizes: &Sizes| blob(how, sizes, false);
    let against_distribution = vec![
        at_least(Metric::Speed, DEBIAN, 3.5, Some(4.0)),
        at_most(Metric::CpuPerGb, DEBIAN, 0.333, None),
        at_least(Metric::Speed, V3, 1.8, Some(2.2)),
        at_most(Metric::CpuPerGb, V3, 0.65, None),
        absolute(Metric::CpuPerGb, 1.35, None),
    ];
    rows.push(
        Row::new("push-put", "push of 1 GiB in one PUT")
            .load(On::Registries, blobs(Push::Put))
            .targets(against_distribution.clone()),
    );
    rows.push(
        Row::new("push-patch", "push of 1 GiB in one PATCH")
            .load(On::Registries, blobs(Push::Patch))
            .targets(against_distribution),
    );
    rows.push(
        Row::new("push-chunks", "push of 1 GiB in PATCHes of 10 MiB")
            .load(On::Registries, |sizes: &Sizes| {
                blob(Push::Chunks(sizes.chunk), sizes, false)
            })
            .variant("one PUT", On::Ours, blobs(Push::Put))
            .targets(vec![at_least(
                Metric::Speed,
                "registryd, one PUT",
                0.85,
                Some(0.95),
            )]),
    );
    rows.push(
        Row::new(
            "push-known",
            "push of 1 GiB that the repository has, in one PUT",
        )
        .load(On::Registries, |sizes: &Sizes| blob(Push::Put, sizes, true)),
    );
    rows.push(
        Row::new(
            "push-images",
            "images (2 blobs and a manifest) by 16 clients",
        )
        .load(On::Registries, |_: &Sizes| -> Box<dyn Load> {
            Box::new(Images { clients: 16 })
        })
        .targets(vec![
            at_least(Metric::Rate, DEBIAN, 8.0, None),
            Target {
                metric: Metric::Rate,
                against: None,
                bound: Bound::AtLeast,
                must: None,
                aim: Some(1000.0),
            },
        ]),
    );
    rows.push(
        Row::new("push-64", "64 pushes of 100 MB at once")
            .load(On::Registries, |sizes: &Sizes| -> Box<dyn Load> {
                Box::new(Blobs {
                    how: Push::Put,
                    size: sizes.layer,
                    clients: 64,
                    known: false,
                })
            })
            .targets(vec![
                at_least(Metric::Speed, DEBIAN, 2.5, None),
                absolute(Metric::Peak, 96.0, Some(64.0)),
            ]),
    );
    rows.push(
        Row::new(
            "mix",
            "75 % pulls, 25 % pushes of 1, 10 and 100 MB (20, 70, 10 %) by 8 clients",
        )
        .load(On::Registries, |_: &Sizes| -> Box<dyn Load> {
            Box::new(Mixed { clients: 8 })
        }),
    );
}

fn pulls(rows: &mut Vec<Row>) {
    let pulls = |clients: usize, over: Over| {
        move |sizes: &Sizes| -> Box<dyn Load> {
            Box::new(Pulls {
                size: sizes.blob,
                clients,
                times: if clients == 1 { sizes.pulls } else { 1 },
                over,
                slow_readers: 0,
            })
        }
    };
    rows.push(
        Row::new("pull-1", "pull of 1 GiB by one client")
            .load(On::All, pulls(1, Over::Tcp))
            .targets(vec![
                at_least(Metric::Speed, NGINX, 1.0, Some(1.2)),
                at_most(Metric::CpuPerGb, NGINX, 1.0, None),
            ]),
    );
    rows.push(
        Row::new("pull-16", "pull of 1 GiB by 16 clients")
            .load(On::All, pulls(16, Over::Tcp))
            .targets(vec![
                at_least(Metric::Speed, NGINX, 0.8, Some(1.0)),
                at_most(Metric::CpuPerGb, NGINX, 1.15, None),
            ]),
    );
    rows.push(
        Row::new("pull-tls", "pull of 1 GiB with TLS 1.3")
            .load(On::All, pulls(1, Over::Tls))
            .starts_only()
            .targets(vec![at_most(Metric::CpuPerGb, NGINX, 0.85, Some(0.75))]),
    );
    rows.push(
        Row::new("pull-h2", "pull of 1 GiB over HTTP/2 with TLS 1.3")
            .load(On::All, pulls(1, Over::Http2))
            .starts_only(),
    );
    let beside = |slow_readers: usize| {
        move |sizes: &Sizes| -> Box<dyn Load> {
            Box::new(Pulls {
                size: sizes.layer,
                clients: 64,
                times: 1,
                over: Over::Tcp,
                slow_readers,
            })
        }
    };
    rows.push(
        Row::new(
            "pull-slow",
            "64 pulls of 100 MB beside 16 clients that read 10 KiB/s",
        )
        .load(On::Registries, beside(16))
        .variant("without them", On::Registries, beside(0))
        .rounds(7),
    );
}

fn manifests(rows: &mut Vec<Row>) {
    for (method, by_digest) in [
        ("GET", false),
        ("GET", true),
        ("HEAD", false),
        ("HEAD", true),
    ] {
        for connections in [32, 64] {
            let load = Manifests {
                method,
                by_digest,
                connections,
                password: false,
                rate: None,
            };
            let by = if by_digest { "digest" } else { "tag" };
            let name = format!("manifest-{}-{by}-{connections}", method.to_lowercase());
            let title = format!("{method} of a manifest by {by}, {connections} connections");
            rows.push(
                Row::new(&name, &title)
                    .load(On::All, move |_: &Sizes| -> Box<dyn Load> {
                        Box::new(load)
                    })
                    .targets(vec![
                        at_least(Metric::Rate, DEBIAN, 25.0, None),
                        at_least(Metric::Rate, NGINX, 0.5, Some(0.8)),
                        absolute(Metric::P99, 10.0, None),
                    ]),
            );
        }
    }
    let load = |password: bool, rate: Option<u32>| {
        move |_: &Sizes| -> Box<dyn Load> {
            Box::new(Manifests {
                method: "GET",
                by_digest: false,
                connections: 32,
                password,
                rate,
            })
        }
    };
    rows.push(
        Row::new(
            "manifest-auth",
            "GET of a manifest with a password (bcrypt, cost 10)",
        )
        .load(On::Registries, load(true, None))
        .variant("without", On::Ours, load(false, None))
        .starts_only()
        .targets(vec![at_least(
            Metric::Rate,
            "registryd, without",
            0.9,
            None,
        )]),
    );
    rows.push(
        Row::new(
            "manifest-schedule",
            "GET of a manifest, 500 arrivals per second by schedule",
        )
        .load(On::Registries, load(false, Some(500))),
    );
}

fn listings(rows: &mut Vec<Row>, options: &Options) {
    let listing = |listing: Listing| move |_: &Sizes| -> Box<dyn Load> { Box::new(listing) };
    let (tags, repositories) = if options.short {
        (options.tags.min(300), options.repositories.min(300))
    } else {
        (options.tags, options.repositories)
    };
    rows.push(
        Row::new("tags", &format!("page of 100 amid {tags} tags"))
            .load(On::Registries, listing(Listing::Tags(tags)))
            .starts_only()
            .targets(vec![absolute(Metric::Median, 2.0, Some(0.5))]),
    );
    rows.push(
        Row::new(
            "catalog",
            &format!("page of 100 amid {repositories} repositories"),
        )
        .load(On::Registries, listing(Listing::Repositories(repositories)))
        .starts_only()
        .targets(vec![absolute(Metric::Median, 2.0, Some(0.5))]),
    );
}

fn collections(rows: &mut Vec<Row>, options: &Options) {
    let title = if options.short {
        "collection of blobs, a part of them garbage"
    } else {
        "collection of 20,000 blobs, 8,000 of them garbage; registryd serves meanwhile"
    };
    let mut row = Row::new("collect", title).starts_only();
    row.variants.push(Variant {
        suffix: "",
        on: On::Registries,
        load: Box::new(|sizes, program| {
            Box::new(Collect {
                program: program.clone(),
                sizes: sizes.garbage,
            })
        }),
    });
    rows.push(row.targets(vec![at_least(Metric::Collected, DEBIAN, 2.0, Some(4.0))]));
}

fn processes(rows: &mut Vec<Row>) {
    rows.push(
        Row::new("connections", "10,000 open connections")
            .load(On::Registries, |_: &Sizes| -> Box<dyn Load> {
                Box::new(Connections)
            })
            .starts_only()
            .targets(vec![
                absolute(Metric::BeforeFirstByte, 64.0, None),
                absolute(Metric::AfterOneRequest, 160.0, None),
            ]),
    );
    let mut start = Row::new("start", "start, idle memory, size of the program").starts_only();
    start.variants.push(Variant {
        suffix: "",
        on: On::All,
        load: Box::new(|_, program| {
            Box::new(Start {
                program: program.clone(),
            })
        }),
    });
    rows.push(start.targets(vec![
        absolute(Metric::Start, 10.0, Some(5.0)),
        absolute(Metric::Idle, 12.0, Some(8.0)),
        absolute(Metric::Binary, 15.0, Some(12.0)),
    ]));
}

fn limits() -> Row {
    Row::new(
        "limits",
        "32 pushes, then 64 pulls of 1 GiB at once in 100 MiB of memory and a tenth of a CPU",
    )
    .load(On::Ours, |sizes: &Sizes| -> Box<dyn Load> {
        Box::new(Limits {
            size: sizes.blob,
            pushes: sizes.limited_pushes,
        })
    })
    .starts_only()
    .targets(vec![absolute(Metric::Peak, 90.0, None)])
    .once()
}

impl Row {
    fn new(name: &str, title: &str) -> Self {
        Self {
            name: name.into(),
            title: title.into(),
            variants: Vec::new(),
            targets: Vec::new(),
            least_rounds: 0,
            once: false,
            starts_only: false,
        }
    }

    fn load(self, on: On, load: impl Fn(&Sizes) -> Box<dyn Load> + 'static) -> Self {
        self.variant("", on, load)
    }

    fn variant(
        mut self,
        suffix: &'static str,
        on: On,
        load: impl Fn(&Sizes) -> Box<dyn Load> + 'static,
    ) -> Self {
        self.variants.push(Variant {
            suffix,
            on,
            load: Box::new(move |sizes, _| load(sizes)),
        });
        self
    }

    fn targets(self, targets: Vec<Target>) -> Self {
        Self { targets, ..self }
    }

    fn rounds(self, least_rounds: u32) -> Self {
        Self {
            least_rounds,
            ..self
        }
    }

    fn once(self) -> Self {
        Self { once: true, ..self }
    }

    fn starts_only(self) -> Self {
        Self {
            starts_only: true,
            ..self
        }
    }

    pub(crate) fn round_count(&self, arena: &Arena) -> u32 {
        let asked = arena.options.rounds();
        if self.once {
            1
        } else if arena.options.short || arena.options.rounds.is_some() {
            asked
        } else {
            asked.max(self.least_rounds)
        }
    }
}

fn blob(how: Push, sizes: &Sizes, known: bool) -> Box<dyn Load> {
    Box::new(Blobs {
        how,
        size: sizes.blob,
        clients: 1,
        known,
    })
}

fn at_least(metric: Metric, against: &'static str, must: f64, aim: Option<f64>) -> Target {
    Target {
        metric,
        against: Some(against),
        bound: Bound::AtLeast,
        must: Some(must),
        aim,
    }
}

fn at_most(metric: Metric, against: &'static str, must: f64, aim: Option<f64>) -> Target {
    Target {
        bound: Bound::AtMost,
        ..at_least(metric, against, must, aim)
    }
}

/// An upper bound for the figure itself.
fn absolute(metric: Metric, must: f64, aim: Option<f64>) -> Target {
    Target {
        metric,
        against: None,
        bound: Bound::AtMost,
        must: Some(must),
        aim,
    }
}
