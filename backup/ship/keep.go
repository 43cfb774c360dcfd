package ship

import (
	"context"
	"time"

	"github.com/quire-db/quire/wal"
)

// PackEvery is how often KeepPacked looks whether there is something to pack, unless it
// is told otherwise.
const PackEvery = 10 * time.Minute

// Pack packs the log that is shipped to, as the function does. Of the options, Seal and
// Identities are the archiver's; what is encrypted and cannot be read is left as it is.
func (a *Archiver) Pack(ctx context.Context, o PackOptions) (Packed, error) {
	log := a.Status().Shipped.Timeline
	if log == (wal.TimelineID{}) || a.blind() {
		return Packed{}, nil
	}
	o.Seal, o.Identities = a.o.Seal, a.o.Identities
	return Pack(ctx, a.place, log, o)
}

// blind reports whether the archiver cannot read what it puts.
func (a *Archiver) blind() bool { return len(a.o.Seal.Recipients) > 0 && len(a.o.Identities) == 0 }

// KeepPacked calls Pack every so often (PackEvery when zero) if something was put since,
// until ctx ends, or returns at once if that could do nothing: so that whoever reads the log
// needs few objects. It is for a goroutine of its own, beside Run. failed hears of what went
// wrong, which the next time makes good. Memory: that of Pack.
func (a *Archiver) KeepPacked(ctx context.Context, every time.Duration, o PackOptions, failed func(error)) {
	if a.blind() {
		return
	}
	if every == 0 {
		every = PackEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for packed := uint64(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s := a.Status()
		if s.Objects == packed || s.Shipped.LSN == 0 {
			continue
		}
		if _, err := a.Pack(ctx, o); err == nil {
			packed = s.Objects
		} else if ctx.Err() == nil {
			failed(err)
		}
	}
}
