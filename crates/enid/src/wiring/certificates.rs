//! Certificates that are given by file, as ACM has them: read when the daemon starts, and again when they change.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use enid_control::{Control, certificate_arn};

use crate::config::CertificateConfig;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(2);

/// Has ACM know the certificates of these files. One that cannot be used is an error: listeners may need it.
pub(crate) async fn import(
    control: &Control,
    certificates: &[CertificateConfig],
) -> anyhow::Result<()> {
    for one in certificates {
        keep(control, one).await?;
    }
    Ok(())
}

/// Looks at the files from now on. What cannot be used leaves ACM with what it has, and is told once.
pub(crate) fn follow(control: &Arc<Control>, certificates: Vec<CertificateConfig>) {
    if certificates.is_empty() {
        return;
    }
    let control = Arc::clone(control);
    tokio::spawn(async move {
        let mut told = vec![None; certificates.len()];
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            ticks.tick().await;
            for (one, told) in certificates.iter().zip(&mut told) {
                match keep(&control, one).await {
                    Ok(()) => *told = None,
                    Err(error) => {
                        let error = format!("{error:#}");
                        if told.as_ref() != Some(&error) {
                            tracing::warn!(error, "a certificate's files cannot be used");
                        }
                        *told = Some(error);
                    }
                }
            }
        }
    });
}

async fn keep(control: &Control, one: &CertificateConfig) -> anyhow::Result<()> {
    let (id, caller) = one.place()?;
    let given = one.read()?;
    let arn = certificate_arn(&caller, id);
    let kept = control.keep_certificate(&caller, id, &given).await;
    if kept.with_context(|| format!("import {arn}"))? {
        tracing::info!(arn, "a certificate was read from its files");
    }
    Ok(())
}
