//! Counting, ending and sweeping uploads, whoever began them.

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use oci_core::StoreError;
use oci_core::store::{UploadId, UploadScope};

use super::super::durable::{Dirty, Ticket, open_file};
use super::super::links::{is_absent, metadata};
use super::super::listing::names_in;
use super::super::section::{self, Writer};
use super::super::{Failure, Inner};
use super::{ORPHAN_AGE, read_record};

impl Inner {
    /// Ends an upload even while somebody writes to it: without its names on the disk, whatever the
    /// writer still does leads nowhere.
    pub(in super::super) fn abort_upload(
        self: &Arc<Self>,
        scope: &UploadScope,
        id: &UploadId,
    ) -> Result<Ticket, Failure> {
        let data = self.layout.upload_data(scope, id);
        if self.record(scope, id)?.is_none() || metadata(&data)?.is_none() {
            return Err(StoreError::NotFound.into());
        }
        // This decides between several that end it at once. Bytes without a record would look like an
        // upload that has just begun, so they go first.
        if !self.disk.remove_file(&data)? {
            return Err(StoreError::NotFound.into());
        }
        self.disk
            .remove_file(&self.layout.upload_state(scope, id))?;
        let mut dirty = Dirty::new();
        dirty.directory(&self.layout.uploads_of(scope));
        Ok(self.disk.commit(dirty))
    }

    pub(in super::super) fn count_uploads(
        &self,
        scope: Option<&UploadScope>,
        limit: u64,
    ) -> Result<u64, Failure> {
        let mut count = 0;
        let directories = if let Some(scope) = scope {
            vec![self.layout.uploads_of(scope)]
        } else {
            let uploads = self.layout.uploads();
            let names = names_in(&uploads)?.unwrap_or_default();
            names.iter().map(|name| uploads.join(name)).collect()
        };
        for directory in directories {
            for name in names_in(&directory)?.unwrap_or_default() {
                if count >= limit {
                    return Ok(count);
                }
                count += u64::from(name.ends_with(DATA));
            }
        }
        Ok(count)
    }

    pub(in super::super) fn sweep_uploads(&self, idle: Duration) -> Result<u64, Failure> {
        self.sweep_temporary();
        let mut ended = 0;
        let uploads = self.layout.uploads();
        for principal in names_in(&uploads)?.unwrap_or_default() {
            let directory = uploads.join(principal);
            for name in names_in(&directory)?.unwrap_or_default() {
                let path = directory.join(&name);
                if let Some(id) = name.strip_suffix(STATE) {
                    let data = directory.join(format!("{id}{DATA}"));
                    ended += u64::from(self.sweep_session(&path, &data, idle)?);
                } else if let Some(id) = name.strip_suffix(DATA) {
                    let state = directory.join(format!("{id}{STATE}"));
                    ended += u64::from(self.sweep_bytes(&path, &state, idle)?);
                }
            }
            // Gone if it was the principal's last upload.
            self.disk.tidy_directory(&directory);
        }
        Ok(ended)
    }

    fn sweep_session(&self, state: &Path, data: &Path, idle: Duration) -> io::Result<bool> {
        let is_idle = || -> io::Result<bool> {
            match read_record(state)? {
                Some(record) => Ok(record.is_idle(idle, self.clock.now())),
                // Torn, or of another version: nobody can go on from it.
                None => self.is_old(metadata(state)?, idle.max(ORPHAN_AGE)),
            }
        };
        if !is_idle()? {
            return Ok(false);
        }
        match open_if_there(data)? {
            // Its bytes became a blob, or were never there.
            None => self.disk.remove_file(state),
            Some(file) => {
                // With a writer it is not idle. With the lock, nobody becomes one.
                if section::become_writer(&file, data)? != Writer::Yes || !is_idle()? {
                    return Ok(false);
                }
                let ended = self.disk.remove_file(data)?;
                self.disk.remove_file(state)?;
                Ok(ended)
            }
        }
    }

    /// An upload without a record: none of its bytes count.
    fn sweep_bytes(&self, data: &Path, state: &Path, idle: Duration) -> io::Result<bool> {
        if metadata(state)?.is_some() || !self.is_old(metadata(data)?, idle)? {
            return Ok(false);
        }
        if let Some(file) = open_if_there(data)?
            && section::become_writer(&file, data)? == Writer::Yes
            && metadata(state)?.is_none()
            // Again, for somebody may have written to it meanwhile.
            && self.is_old(Some(file.metadata()?), idle)?
        {
            return self.disk.remove_file(data);
        }
        Ok(false)
    }

    /// Removes temporary files that a process left behind. Failing is fine: it comes again.
    pub(in super::super) fn sweep_temporary(&self) {
        let directory = self.layout.temporary();
        for name in names_in(&directory).ok().flatten().unwrap_or_default() {
            let path = directory.join(name);
            let old = metadata(&path).and_then(|found| self.is_old(found, ORPHAN_AGE));
            if old.unwrap_or(false) {
                let _ = self.disk.remove_file(&path);
            }
        }
    }

    fn is_old(&self, metadata: Option<Metadata>, age: Duration) -> io::Result<bool> {
        let Some(metadata) = metadata else {
            return Ok(false);
        };
        let written = metadata.modified()?;
        let passed = self.clock.now().duration_since(written).unwrap_or_default();
        Ok(passed >= age)
    }
}

fn open_if_there(path: &Path) -> io::Result<Option<File>> {
    match open_file(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

const STATE: &str = ".state";
const DATA: &str = ".data";
