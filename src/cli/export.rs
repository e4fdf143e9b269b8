//! Every view's contents as one Parquet file named after the view.

use crate::app::Runtime;
use crate::views::Filter;
use anyhow::Context;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Writes all views at one epoch. Files of the same names are replaced.
pub fn views(runtime: &Runtime, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let infos = runtime.views.list();
    let names: Vec<&str> = infos.iter().map(|info| info.name).collect();
    let (_, contents) = runtime.views.snapshot(&names, &Filter::default())?;
    let compression = Compression::ZSTD(ZstdLevel::default());
    let properties = WriterProperties::builder().set_compression(compression).build();
    for (info, batches) in infos.iter().zip(contents) {
        let path = folder.join(format!("{}.parquet", info.name));
        let write = || {
            let file = File::create(&path)?;
            let mut writer =
                ArrowWriter::try_new(file, Arc::clone(&info.schema), Some(properties.clone()))?;
            batches.iter().try_for_each(|batch| writer.write(batch))?;
            writer.close()?;
            anyhow::Ok(())
        };
        write().with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}
