package bench

import (
	"time"

	"github.com/quire-db/quire/txn"
)

// Result of a measurement. The JSON names are stable.
type Result struct {
	Writers     int    `json:"writers" doc:"that committed at the same time"`
	Pages       int    `json:"pages" doc:"of each transaction"`
	PageSize    int    `json:"page_size" doc:"bytes"`
	VolumeBytes uint64 `json:"volume_bytes" doc:"size of the volume"`

	Engine  Side `json:"engine" doc:"the store"`
	Grown   Side `json:"floor_grown" doc:"a plain file that grows, same bytes, same group loop"`
	Written Side `json:"floor_written" doc:"a plain file on space already written, same bytes, same group loop"`

	RatioGrown   float64 `json:"ratio_to_floor_grown" doc:"the engine's transactions per second by the floor's"`
	RatioWritten float64 `json:"ratio_to_floor_written" doc:"the same, of the other floor"`

	Checkpoints     uint64  `json:"checkpoints" doc:"ended while measuring"`
	CommitsPerGroup float64 `json:"commits_per_group" doc:"of the engine since it was opened"`
	Rounds          []Round `json:"rounds" doc:"the turns that they took"`

	Device       string `json:"device" doc:"that was written to; empty when not known"`
	DeviceSource string `json:"device_source" doc:"where device_bytes are read"`
	Filesystem   string `json:"filesystem" doc:"empty when not known"`
}

// Side is what one of the three did.
type Side struct {
	Seconds        float64 `json:"seconds" doc:"its slices together"`
	Transactions   uint64  `json:"transactions" doc:"acknowledged"`
	PerSecond      float64 `json:"transactions_per_second" doc:"transactions by seconds"`
	PayloadBytes   uint64  `json:"payload_bytes" doc:"of the pages committed"`
	BytesPerSecond float64 `json:"bytes_per_second" doc:"payload bytes by seconds"`
	P50            float64 `json:"p50_microseconds" doc:"latency that half of the transactions did not exceed"`
	P99            float64 `json:"p99_microseconds" doc:"latency that 99 of 100 did not exceed"`
	Max            float64 `json:"max_microseconds" doc:"the longest latency"`
	CPU            float64 `json:"cpu_microseconds_per_transaction" doc:"processor time of this process by transactions"`
	Syncs          uint64  `json:"syncs" doc:"of files and directories"`
	DeviceBytes    uint64  `json:"device_bytes" doc:"written to the device in these slices, by whomever"`
	Amplification  float64 `json:"device_bytes_per_payload_byte" doc:"device bytes by payload bytes"`
}

// Round is the transactions per second of one turn of each.
type Round struct {
	Engine  float64 `json:"engine" doc:"transactions per second"`
	Grown   float64 `json:"floor_grown" doc:"transactions per second"`
	Written float64 `json:"floor_written" doc:"transactions per second"`
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
		CPU: ratio(microseconds(t.cpu), float64(t.txs)), Syncs: t.syncs, DeviceBytes: t.device,
	}
	s.PerSecond = ratio(float64(s.Transactions), s.Seconds)
	s.BytesPerSecond = ratio(float64(s.PayloadBytes), s.Seconds)
	s.Amplification = ratio(float64(s.DeviceBytes), float64(s.PayloadBytes))
	return s
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
