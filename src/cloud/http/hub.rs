//! The Hub's bill, over HTTP.

use jiff::Timestamp;
use reqwest::Url;

use super::{Http, HttpOptions};
use crate::{
    cloud::{
        billing::Bill,
        fault::{Class, Fault},
    },
    domain::{UnixSeconds, limits},
};

/// Where the bill of the account is.
pub struct Hub {
    http: Http,
    bill: Url,
}

impl Hub {
    /// With a token that may read bills; of an organisation, when that pays.
    pub fn new(options: &HttpOptions, organisation: Option<&str>) -> Result<Self, String> {
        let mut bill: Url = options.base_url.parse().map_err(|e| format!("`hub_url`: {e}"))?;
        let whose = organisation.map_or(["settings"].as_slice().to_vec(), |name| vec!["organizations", name]);
        bill.path_segments_mut()
            .map_err(|()| "`hub_url` is no address of a server".to_owned())?
            .pop_if_empty()
            .push("api")
            .extend(whose)
            .extend(["billing", "usage-by-inference-session"]);
        Ok(Self { http: Http::new(options)?, bill })
    }

    /// What was billed between two moments.
    pub async fn bill(&self, from: UnixSeconds, to: UnixSeconds) -> Result<Bill, Fault> {
        let mut url = self.bill.clone();
        for (name, at) in [("startDate", from), ("endDate", to)] {
            let at = Timestamp::from_second(at.0).unwrap_or_default();
            url.query_pairs_mut().append_pair(name, &at.to_string());
        }
        let body = self.http.get(url.as_str(), limits::BILL_BYTES_MAX, "the bill").await?;
        Bill::parse(&body).map_err(|why| Fault::new(Class::Broken, why))
    }
}
