package crash

import (
	"context"
	"errors"
	"fmt"
	"sort"

	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// feedName is the consumer of a life. It acknowledges half of what there is, now and
// then, so that it lags behind checkpoints. What it has acknowledged, and that it
// exists, must survive; and all entries behind that must be there, whole, with
// every image, however many checkpoints have gone by.
const feedName = "feed"

// subscribe makes the consumer, unless it is there.
func (l *life) subscribe() error {
	c, err := l.o.Consumer(l.o.ctx(), feedName)
	if err != nil {
		return err
	}
	at, err := c.Acked()
	l.rec.fed(at.LSN, l.disk.Ops())
	return err
}

// acknowledge reads half of what it has still to read, and acknowledges it.
func (l *life) acknowledge() error {
	c, err := l.o.Consumer(l.o.ctx(), feedName)
	if err != nil {
		return err
	}
	at, err := c.Acked()
	if err != nil {
		return err
	}
	half := at.LSN + (l.o.Stats().Durable-at.LSN)/2
	if half == at.LSN {
		return nil
	}
	pos, err := consume(c, at.LSN, half)
	if err != nil {
		return err
	}
	if err := c.Ack(l.o.ctx(), pos); err != nil {
		return err
	}
	l.rec.fed(half, l.disk.Ops())
	return nil
}

// consume reads the entries behind one LSN up to another, images too.
func consume(c *txn.Consumer, from, to wal.LSN) (last wal.Position, err error) {
	if from >= to {
		return last, nil
	}
	buf := make([]byte, wal.MaxPageSize)
	for e, err := range c.Watch(context.Background(), txn.WatchOptions{}) {
		if err != nil {
			return last, err
		}
		if from++; e.Position.LSN != from {
			return last, fmt.Errorf("entry %d comes, %d was expected", e.Position.LSN, from)
		}
		if err := readAll(e, buf); err != nil {
			return last, fmt.Errorf("entry %d: %w", from, err)
		}
		if from == to {
			return e.Position, nil
		}
	}
	return last, errors.New("it ended")
}

func readAll(e *txn.Event, buf []byte) error {
	for i := range e.Entry.Sections {
		for row, err := range e.Rows(&e.Entry.Sections[i]) {
			if err == nil {
				err = e.ReadPage(row, buf[:row.Locator.Length()])
			}
			if err != nil {
				return fmt.Errorf("page %d: %w", row.Page, err)
			}
		}
	}
	return nil
}

// fed notes what the consumer has acknowledged by an operation.
func (r *recorder) fed(lsn wal.LSN, op int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.feeds = append(r.feeds, ack{op, lsn})
}

// fed is what the consumer of a history that was cut behind operation k had
// acknowledged, for those who go on from operation begin of what was left.
func fed(h *history, k, begin int) (feeds []ack) {
	for _, a := range h.feeds {
		if a.op <= k {
			feeds = append(feeds, ack{begin, a.lsn})
		}
	}
	return feeds
}

// checkFeed checks the consumer of a store that was cut behind operation k.
func (h *history) checkFeed(o *opened, k int) error {
	sure := sort.Search(len(h.feeds), func(i int) bool { return h.feeds[i].op > k })
	list := o.Consumers()
	switch {
	case len(list) == 0 && sure == 0:
		return nil
	case len(list) != 1 || list[0].Name != feedName || list[0].Dropped:
		return wrongf("want one, %+v are there", list)
	}
	at := list[0].Acked.LSN
	if sure > 0 && at < h.feeds[sure-1].lsn {
		return wrongf("it stands at LSN %d, %d was acknowledged", at, h.feeds[sure-1].lsn)
	}
	if at > o.rep.Last {
		return wrongf("it stands at LSN %d, the store ends at %d", at, o.rep.Last)
	}
	c, err := o.Consumer(o.ctx(), feedName)
	if err != nil {
		return err
	}
	_, err = consume(c, at, o.rep.Last)
	return err
}
