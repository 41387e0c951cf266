//! How the domain's types stand in columns.

use std::time::Duration;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use super::record::Digest;
use crate::domain::{BootTime, ClientId, Lane, RequestId, Stamp, UnixSeconds};

/// A stamp as `boot_id boot_ms wall_s synced`.
pub(super) struct StampText<'a>(pub(super) &'a Stamp);

impl ToSql for StampText<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let Stamp { boot_id, boot, wall, synced } = self.0;
        let text = format!("{boot_id} {} {} {}", boot.as_millis(), wall.0, u8::from(*synced));
        Ok(ToSqlOutput::from(text))
    }
}

impl FromSql for Stamp {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let mut parts = value.as_str()?.rsplitn(4, ' ');
        let mut next = || parts.next().ok_or(FromSqlError::InvalidType);
        let wrong = |_| FromSqlError::InvalidType;
        let synced = next()? == "1";
        let wall = UnixSeconds(next()?.parse().map_err(wrong)?);
        let boot = BootTime::new(Duration::from_millis(next()?.parse().map_err(wrong)?));
        Ok(Self { boot_id: next()?.into(), boot, wall, synced })
    }
}

impl FromSql for Lane {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let name = value.as_str()?;
        Self::ALL.into_iter().find(|lane| lane.name() == name).ok_or(FromSqlError::InvalidType)
    }
}

impl FromSql for ClientId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::new(value.as_str()?).ok_or(FromSqlError::InvalidType)
    }
}

impl FromSql for RequestId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::new(value.as_str()?).ok_or(FromSqlError::InvalidType)
    }
}

impl FromSql for Digest {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        FromSql::column_result(value).map(Self)
    }
}

/// A duration as a column of milliseconds; longer than 290 million years is cut.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A count as a column; SQLite's integers are signed.
pub(super) fn count(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
