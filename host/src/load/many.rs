//! Loading a directory of archives: one archive after the other, changing between them as a model's layers need it.

use super::floats::{Archives, Model, absent};
use super::handle::{Counters, Load, LoadProgress};
use super::run::{Event, panicked};
use super::{Loaded, Loader, request};
use crate::archive::Archive;
use crate::directory::ArchiveDirectory;
use crate::error::{Error, ErrorKind, Result};
use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

/// The archives of a model.
pub(super) struct Members {
    archives: Vec<(PathBuf, Arc<Archive>)>,
    /// Which of them holds a tensor.
    homes: BTreeMap<String, usize>,
}

impl Members {
    /// Opens the archives that the model's tensors are in, reads their indexes.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let directory = ArchiveDirectory::open(path)?;
        let wanted: std::collections::HashSet<&String> = directory.weight_map().values().collect();
        let (mut archives, mut numbers) = (Vec::new(), HashMap::new());
        for shard in directory.shards().iter().filter(|s| wanted.contains(&s.archive)) {
            numbers.insert(shard.archive.as_str(), archives.len());
            archives.push((directory.path_of(&shard.archive), Arc::new(directory.archive(shard)?)));
        }
        if archives.is_empty() {
            let why = "it has no index of a model's tensors: open one of its archives";
            return Err(Error::new(ErrorKind::NotFound, why).with_path(path));
        }
        let mut homes = BTreeMap::new();
        for (tensor, archive) in directory.weight_map() {
            let Some(&number) = numbers.get(archive.as_str()) else {
                return Err(Error::corrupt("the index lists no such archive").with_path(path).with_tensor(tensor));
            };
            archives[number].1.tensor(tensor).map_err(|_| {
                let why = "the index says that it is in this archive, which does not have it";
                Error::corrupt(why).with_path(&archives[number].0).with_tensor(tensor)
            })?;
            homes.insert(tensor.clone(), number);
        }
        Ok(Self { archives, homes })
    }

    /// The first archive and its file.
    pub(super) fn first(&self) -> (PathBuf, Arc<Archive>) {
        self.archives[0].clone()
    }

    pub(super) fn archives(&self) -> impl Iterator<Item = &Archive> {
        self.archives.iter().map(|(_, archive)| &**archive)
    }

    /// The model as it is where integers become floats.
    pub(super) fn model(&self) -> Result<Arc<Model>> {
        let archives = self.archives.iter().map(|(_, archive)| archive.clone()).collect();
        Ok(Arc::new(Model::new(Archives(archives))?))
    }

    /// Which archive holds a tensor: that of its integers, if it has any.
    fn home(&self, name: &str, model: Option<&Arc<Model>>) -> Option<usize> {
        let integers = model.and_then(|model| model.integers(name));
        match integers {
            Some(integers) => self.homes.get(&integers.stored_as(name)).copied(),
            None if model.is_some_and(|model| model.shape(name).is_none()) => None,
            None => self.homes.get(name).copied(),
        }
    }

    /// The names of what is loaded: of all tensors, or of those that are asked for.
    pub(super) fn names(&self, only: Option<&[String]>, model: Option<&Arc<Model>>) -> Result<Vec<String>> {
        let Some(only) = only else {
            let Some(model) = model else { return Ok(self.homes.keys().cloned().collect()) };
            return Ok(model.names().filter(|name| self.home(name, Some(model)).is_some()).map(String::from).collect());
        };
        match only.iter().find(|name| self.home(name, model).is_none()) {
            Some(name) => match model.filter(|_| self.homes.contains_key(name)) {
                Some(model) => Err(absent(model, name)),
                None => {
                    let e = Error::new(ErrorKind::NotFound, "no tensor of this name in the directory").with_tensor(name);
                    Err(e.with_path(self.archives[0].0.parent().unwrap_or(Path::new(""))))
                }
            },
            None => Ok(only.to_vec()),
        }
    }

    /// Which archive to load which tensors of, in the order in which a model needs them.
    fn runs(&self, only: Option<&[String]>, model: Option<&Arc<Model>>) -> Result<Vec<(usize, Vec<String>)>> {
        let names = self.names(only, model)?.into_iter();
        let mut names: Vec<_> = names.filter_map(|n| Some((request::place(&n), self.home(&n, model)?, n))).collect();
        names.sort();
        names.dedup();
        let mut runs: Vec<(usize, Vec<String>)> = Vec::new();
        for (_, home, name) in names {
            match runs.last_mut() {
                Some((last, names)) if *last == home => names.push(name),
                _ => runs.push((home, vec![name])),
            }
        }
        Ok(runs)
    }
}

/// The load that is going on, for whoever cancels it.
#[derive(Default)]
struct Current {
    events: Mutex<Option<Sender<Event>>>,
    cancelled: AtomicBool,
}

impl Current {
    /// `events` are the next load's. Whoever cancels finds it, or is found here.
    fn enter(&self, load: &Load) -> bool {
        *self.events.lock().unwrap_or_else(PoisonError::into_inner) = Some(load.events.clone());
        !self.cancelled.load(Ordering::SeqCst)
    }

    fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        if let Some(events) = &*self.events.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = events.send(Event::Cancel);
        }
    }
}

/// Starts the load of all members of `loader`.
pub(super) fn start(loader: Loader, members: &Members) -> Result<Load> {
    let threads = loader.threads.unwrap_or_else(rayon::current_num_threads);
    let model = loader.dequantize.map(|_| members.model()).transpose()?;
    let runs = members.runs(loader.names.as_deref(), model.as_ref())?;
    let mut loaders = Vec::with_capacity(runs.len());
    let mut totals = LoadProgress::default();
    for (member, names) in runs {
        let (path, archive) = members.archives[member].clone();
        let one = Loader { archive, path, members: None, model: model.clone(), ..loader.clone() }.threads(threads).tensors(names);
        // What can be known to be wrong is said now, before anything is loaded.
        let (job, infos) = one.plan()?;
        totals.to_read += job.units.iter().map(|u| u.range.end - u.range.start).sum::<u64>();
        totals.to_decode += infos.iter().map(|i| i.byte_len).sum::<u64>();
        totals.tensors += infos.len() as u64;
        loaders.push(one);
    }
    let mut loaders = loaders.into_iter();
    let first = loaders.next().map(Loader::load).transpose()?;
    let reader = first.as_ref().map_or("nothing", Load::reader);
    let (events, inbox) = channel();
    let (ready, receiver) = async_channel::unbounded();
    let (counters, current) = (Arc::new(Counters::default()), Arc::new(Current::default()));
    let listener = {
        let current = current.clone();
        move || listen(&inbox, &current)
    };
    let drive = {
        let counters = counters.clone();
        move || {
            if catch_unwind(AssertUnwindSafe(|| drive(first, loaders, &ready, &counters, &current))).is_err() {
                let _ = ready.try_send(Err(panicked()));
            }
        }
    };
    let spawn = |name: &str| std::thread::Builder::new().name(name.into());
    let starting = |e| Error::io("starting a thread", e);
    // Ends with the load, whose drop cancels.
    spawn("wcodec-cancel").spawn(listener).map_err(starting)?;
    let driver = spawn("wcodec-shards").spawn(drive).map_err(starting)?;
    Ok(Load { tensors: Box::pin(receiver), events, counters, totals, reader, driver: Some(driver) })
}

/// Passes on that a load is to stop, for as long as there is one.
fn listen(inbox: &Receiver<Event>, current: &Current) {
    while let Ok(event) = inbox.recv() {
        if matches!(event, Event::Cancel) {
            return current.cancel();
        }
    }
}

/// Hands out one load's tensors after the other's.
fn drive(
    first: Option<Load>,
    mut rest: impl Iterator<Item = Loader>,
    ready: &async_channel::Sender<Result<Loaded>>,
    counters: &Counters,
    current: &Current,
) {
    let mut next = first.map(Ok);
    while let Some(load) = next {
        let ended = match load {
            Ok(load) => one(load, ready, counters, current),
            Err(e) => Err(e),
        };
        if let Err(e) = ended {
            // Nobody waits for it: then nobody needs it.
            let _ = ready.try_send(Err(e));
            return;
        }
        next = rest.next().map(|loader| {
            // Cancelled after the last tensor of one load: that was not all.
            match current.cancelled.load(Ordering::SeqCst) {
                true => Err(Error::new(ErrorKind::Cancelled, "the load was cancelled")),
                false => loader.load(),
            }
        });
    }
}

fn one(load: Load, ready: &async_channel::Sender<Result<Loaded>>, counters: &Counters, current: &Current) -> Result<()> {
    if !current.enter(&load) {
        load.cancel();
    }
    let before = counters.read.load(Ordering::Relaxed);
    while let Some(tensor) = load.wait() {
        let tensor = tensor?;
        counters.read.store(before + load.progress().read, Ordering::Relaxed);
        counters.decoded.fetch_add(tensor.info.byte_len, Ordering::Relaxed);
        counters.ready.fetch_add(1, Ordering::Relaxed);
        let _ = ready.try_send(Ok(tensor));
    }
    counters.read.store(before + load.progress().read, Ordering::Relaxed);
    Ok(())
}
