//! New documents: checked on top of what is there, given an id and a version.

use super::asset_type::AssetType;
use super::device_type::{Asset, Device, DeviceType, Link};
use super::problem::Problem;
use super::read::{check_body, typed};
use super::store::Catalog;
use super::units::convert;
use super::yaml::{element, member};
use crate::expr::nearest;
use crate::model::{Document, Kind, NewDocument, Timestamp};
use std::collections::HashSet;
use std::sync::Arc;

/// How many users of a document a problem names.
const NAMED_USERS: usize = 5;

impl Catalog {
    /// Checks a new document by itself and on top of what is there, and gives it its id and
    /// version. `Ok(None)` when it changes nothing: the same as the current version, or the
    /// deletion of what is not there.
    ///
    /// The catalog does not change: the document has its effect with [`Catalog::apply`]. The
    /// body of the result is canonical.
    ///
    /// `now` is the source's clock: a new version of an asset type holds from there on unless it
    /// says an earlier time itself. First versions hold for all time.
    pub fn assign(
        &self,
        new: &NewDocument,
        now: Timestamp,
    ) -> Result<Option<Document>, Vec<Problem>> {
        let last = self.last(new.kind, &new.key);
        let body = match &new.body {
            None => {
                let Some(last) = last.filter(|last| last.body.is_some()) else { return Ok(None) };
                self.unused(new.kind, last.id)?;
                None
            }
            Some(body) => {
                let (key, body) = check_body(new.kind, body)?;
                if key != new.key {
                    let message = format!("the document's key is '{key}', expected '{}'", new.key);
                    return Err(vec![Problem::at("", message)]);
                }
                if last.is_some_and(|last| last.body.as_ref() == Some(&body)) {
                    return Ok(None);
                }
                let problems = self.references(new.kind, &body)?;
                if !problems.is_empty() {
                    return Err(problems);
                }
                Some(body)
            }
        };
        let (id, version) = match last {
            Some(last) => (last.id, last.version + 1),
            None => (self.next_id(new.kind), 1),
        };
        let effective_from = effective_from(new.kind, version, body.as_deref(), now)?;
        let (kind, key) = (new.kind, Arc::clone(&new.key));
        Ok(Some(Document { kind, key, id, version, effective_from, body }))
    }

    /// What is wrong with a document because of others.
    fn references(&self, kind: Kind, body: &str) -> Result<Vec<Problem>, Vec<Problem>> {
        let mut problems = Vec::new();
        match kind {
            Kind::AssetTypes => {
                let document: AssetType = typed(body)?;
                self.with_device_types(&document, &mut problems);
            }
            Kind::DeviceTypes => {
                let document: DeviceType = typed(body)?;
                if let Some(provision) = &document.identity.provision
                    && self.asset_type_named(&provision.asset_type).is_none()
                {
                    let path = "identity.provision.asset_type";
                    problems.push(self.missing(Kind::AssetTypes, path, &provision.asset_type));
                }
                self.with_asset_types(&document, &mut problems);
            }
            Kind::Assets => {
                let document: Asset = typed(body)?;
                if self.asset_type_named(&document.asset_type).is_none() {
                    let problem =
                        self.missing(Kind::AssetTypes, "asset_type", &document.asset_type);
                    problems.push(problem);
                }
            }
            Kind::Devices => {
                let document: Device = typed(body)?;
                if self.device_type_named(&document.device_type).is_none() {
                    let problem =
                        self.missing(Kind::DeviceTypes, "device_type", &document.device_type);
                    problems.push(problem);
                }
            }
            Kind::Links => {
                let document: Link = typed(body)?;
                let device = self.device_named(&document.device);
                let asset = self.asset_named(&document.asset);
                if device.is_none() {
                    problems.push(self.missing(Kind::Devices, "device", &document.device));
                }
                if asset.is_none() {
                    problems.push(self.missing(Kind::Assets, "asset", &document.asset));
                }
                if let (Some(device), Some(asset)) = (device, asset)
                    && let Some(asset_type) = self.asset_type(asset.asset_type)
                {
                    let device_type = &device.device_type.document;
                    fitting(&asset_type.document, device_type, "", &mut problems);
                }
            }
        }
        Ok(problems)
    }

    /// Units of an asset type against those of the device types whose devices feed its assets.
    fn with_device_types(&self, document: &AssetType, problems: &mut Vec<Problem>) {
        let Some(entry) = self.asset_type_named(&document.metadata.key) else { return };
        let mut seen = HashSet::new();
        for link in self.links() {
            let (Some(device), Some(asset)) = (self.device(link.device), self.asset(link.asset))
            else {
                continue;
            };
            if asset.asset_type == entry.id && seen.insert(device.device_type.id) {
                let device_type = &device.device_type.document;
                fitting(document, device_type, "transformation_engine", problems);
            }
        }
    }

    /// Units of a device type against those of the asset types whose assets its devices feed.
    fn with_asset_types(&self, document: &DeviceType, problems: &mut Vec<Problem>) {
        let Some(entry) = self.device_type_named(&document.metadata.key) else { return };
        let mut seen = HashSet::new();
        for link in self.links() {
            let (Some(device), Some(asset)) = (self.device(link.device), self.asset(link.asset))
            else {
                continue;
            };
            if device.device_type.id == entry.id
                && seen.insert(asset.asset_type)
                && let Some(asset_type) = self.asset_type(asset.asset_type)
            {
                fitting(&asset_type.document, document, "extraction_rules", problems);
            }
        }
    }

    /// Refuses to delete what others need.
    fn unused(&self, kind: Kind, id: u32) -> Result<(), Vec<Problem>> {
        let users: Vec<String> = match kind {
            Kind::AssetTypes => {
                let provisions = self.device_types().filter(|device_type| {
                    let provision = device_type.document.identity.provision.as_ref();
                    let used = provision.and_then(|p| self.asset_type_named(&p.asset_type));
                    used.is_some_and(|used| used.id.0 == id)
                });
                let assets = self.assets().filter(|asset| asset.asset_type.0 == id);
                (provisions.map(|user| format!("device type '{}'", user.key)))
                    .chain(assets.map(|user| format!("asset '{}'", user.key)))
                    .collect()
            }
            Kind::DeviceTypes => {
                let devices = self.devices().filter(|device| device.device_type.id == id);
                devices.map(|user| format!("device '{}'", user.key)).collect()
            }
            Kind::Assets | Kind::Devices => {
                self.linked(kind, id).map(|link| format!("link '{}'", link.key)).collect()
            }
            Kind::Links => return Ok(()),
        };
        if users.is_empty() {
            return Ok(());
        }
        let mut message =
            format!("still used by {}", users[..users.len().min(NAMED_USERS)].join(", "));
        if users.len() > NAMED_USERS {
            message.push_str(&format!(" and {} more", users.len() - NAMED_USERS));
        }
        Err(vec![Problem::at("", message).hint("delete those first")])
    }

    fn missing(&self, kind: Kind, path: &str, key: &str) -> Problem {
        let what = match kind {
            Kind::AssetTypes => "asset type",
            Kind::DeviceTypes => "device type",
            Kind::Assets => "asset",
            Kind::Devices => "device",
            Kind::Links => "link",
        };
        let problem = Problem::at(path, format!("there is no {what} '{key}'"));
        let known = match kind {
            Kind::AssetTypes => nearest(key, self.asset_types().map(|entry| entry.key.as_ref())),
            Kind::DeviceTypes => nearest(key, self.device_types().map(|entry| entry.key.as_ref())),
            // There may be very many: no guess is worth looking at all of them.
            Kind::Assets | Kind::Devices | Kind::Links => None,
        };
        match known {
            Some(known) => problem.hint(format!("did you mean '{known}'?")),
            None => problem,
        }
    }
}

/// The event time from which a version holds.
fn effective_from(
    kind: Kind,
    version: u32,
    body: Option<&str>,
    now: Timestamp,
) -> Result<Timestamp, Vec<Problem>> {
    let (Kind::AssetTypes, 2.., Some(body)) = (kind, version, body) else {
        return Ok(Timestamp::MIN);
    };
    let document: AssetType = typed(body)?;
    match document.time.effective_from {
        None => Ok(now),
        Some(from) if from <= now => Ok(from),
        Some(from) => {
            let message = format!("{from} lies in the future: it is {now} now");
            let hint = "publish the version when its time has come";
            Err(vec![Problem::at("time.effective_from", message).hint(hint)])
        }
    }
}

/// Whether the units of what devices of a type send fit what assets of a type take.
fn fitting(
    asset_type: &AssetType,
    device_type: &DeviceType,
    path: &str,
    problems: &mut Vec<Problem>,
) {
    for (target, metric) in &asset_type.metric_definitions {
        let mappings = &asset_type.transformation_engine.mappings;
        let mapping = mappings.iter().enumerate().find(|(_, mapping)| mapping.target == *target);
        let source = mapping.map_or(target, |(_, mapping)| &mapping.source);
        let given = mapping.and_then(|(_, mapping)| mapping.from_unit.as_deref());
        let from = given.or_else(|| device_type.unit_of(source));
        let (Some(from), Some(to)) = (from, metric.unit.as_deref()) else { continue };
        let Err(error) = convert(from, to) else { continue };
        let path = match (path, mapping) {
            ("transformation_engine", Some((i, _))) => element("transformation_engine.mappings", i),
            ("transformation_engine", None) => member("metric_definitions", target),
            ("extraction_rules", _) => {
                let rules = &device_type.extraction_rules;
                let rule = rules.iter().position(|rule| rule.metric == *source);
                rule.map_or(path.to_owned(), |i| element(path, i))
            }
            _ => path.to_owned(),
        };
        let message = format!(
            "metric '{target}' of asset type '{}' from '{source}' of device type '{}': {error}",
            asset_type.metadata.key, device_type.metadata.key
        );
        problems.push(Problem::at(path, message));
    }
}
