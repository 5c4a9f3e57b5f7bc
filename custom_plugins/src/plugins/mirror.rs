/// What came of a request that was sent to a second place.
#[derive(Debug, Clone)]
pub struct MirrorResponseMeta {
    pub mirror_target_url: String,
    pub mirror_response_status_code: Option<u16>,
    pub mirror_response_size_bytes: Option<u64>,
    pub mirror_latency_ms: f64,
    pub mirror_error: Option<String>,
}
