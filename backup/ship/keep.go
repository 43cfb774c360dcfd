package ship

import (
	"context"
	"time"
)

// PackEvery is how often KeepPacked looks whether there is something to pack, unless it
// is told otherwise.
const PackEvery = 10 * time.Minute

// KeepPacked packs the log that is shipped to, every so often (PackEvery when zero) if
// something was put since, until ctx ends: so that whoever reads it needs few objects.
// It is for a goroutine of its own, beside Run. failed hears of what went wrong, which the next time
// makes good. Of the options, Seal and Identities are the archiver's; what is encrypted and
// cannot be read is left as it is, and KeepPacked returns at once. Memory: that of Pack.
func (a *Archiver) KeepPacked(ctx context.Context, every time.Duration, o PackOptions, failed func(error)) {
	o.Seal, o.Identities = a.o.Seal, a.o.Identities
	if len(o.Seal.Recipients) > 0 && len(o.Identities) == 0 {
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
		if _, err := Pack(ctx, a.place, s.Shipped.Timeline, o); err == nil {
			packed = s.Objects
		} else if ctx.Err() == nil {
			failed(err)
		}
	}
}
