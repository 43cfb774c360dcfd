package bench

import (
	"time"

	"github.com/quire-db/quire/txn"
)

// Result of a measurement. The JSON names are stable.
type Result struct {
	Writers     int    `json:"writers"`
	Pages       int    `json:"pages"` // of each transaction
	PageSize    int    `json:"page_size"`
	VolumeBytes uint64 `json:"volume_bytes"`

	Engine  Side `json:"engine"`
	Grown   Side `json:"floor_grown"`   // plain file that grows
	Written Side `json:"floor_written"` // plain file on space already written

	RatioGrown   float64 `json:"ratio_to_floor_grown"` // the engine's transactions/s by the floor's
	RatioWritten float64 `json:"ratio_to_floor_written"`

	Checkpoints     uint64  `json:"checkpoints"`
	CommitsPerGroup float64 `json:"commits_per_group"` // of the engine, since it was opened
	Rounds          []Round `json:"rounds"`

	Device       string `json:"device"`
	DeviceSource string `json:"device_source"` // where device_bytes come from
	Filesystem   string `json:"filesystem"`
}

// Side is what one subject did.
type Side struct {
	Seconds              float64 `json:"seconds"`
	Transactions         uint64  `json:"transactions"`
	PerSecond            float64 `json:"transactions_per_second"`
	PayloadBytes         uint64  `json:"payload_bytes"`
	BytesPerSecond       float64 `json:"bytes_per_second"`
	P50                  float64 `json:"p50_microseconds"`
	P99                  float64 `json:"p99_microseconds"`
	Max                  float64 `json:"max_microseconds"`
	Syncs                uint64  `json:"syncs"`
	DeviceBytes          uint64  `json:"device_bytes"`
	DeviceBytesPerOfUser float64 `json:"device_bytes_per_payload_byte"`
}

// Round is the transactions/s of one turn of each.
type Round struct {
	Engine  float64 `json:"engine"`
	Grown   float64 `json:"floor_grown"`
	Written float64 `json:"floor_written"`
}

func (r *run) result(stats txn.Stats) *Result {
	res := &Result{
		Writers: r.c.Writers, Pages: r.c.Pages, PageSize: r.c.PageSize, VolumeBytes: r.c.volumePages() * uint64(r.c.PageSize),
		Rounds: r.rounds, Checkpoints: r.checkpoints,
		CommitsPerGroup: ratio(float64(stats.Commits), float64(stats.Groups)),
		Device:          r.meter.Device, DeviceSource: r.meter.Source, Filesystem: r.meter.Filesystem,
	}
	for i, side := range []*Side{&res.Engine, &res.Grown, &res.Written} {
		*side = r.sides[i].side(r.c)
	}
	res.RatioGrown = ratio(res.Engine.PerSecond, res.Grown.PerSecond)
	res.RatioWritten = ratio(res.Engine.PerSecond, res.Written.PerSecond)
	return res
}

func (t *tally) side(c Config) Side {
	s := Side{
		Seconds: t.took.Seconds(), Transactions: t.txs, PayloadBytes: t.txs * uint64(c.Pages) * uint64(c.PageSize),
		P50: microseconds(t.latency.Quantile(0.5)), P99: microseconds(t.latency.Quantile(0.99)), Max: microseconds(t.latency.Max()),
		Syncs: t.syncs, DeviceBytes: t.device,
	}
	s.PerSecond = ratio(float64(s.Transactions), s.Seconds)
	s.BytesPerSecond = ratio(float64(s.PayloadBytes), s.Seconds)
	s.DeviceBytesPerOfUser = ratio(float64(s.DeviceBytes), float64(s.PayloadBytes))
	return s
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
