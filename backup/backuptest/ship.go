package backuptest

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/quire-db/quire/backup/ship"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// Ship brings the archive up to now.
func (s *Store) Ship() {
	s.T.Helper()
	Must(s.T, s.ShipFrom(0))
}

// ShipFrom does so, as a store whose log begins with an LSN. Any goroutine may call it.
func (s *Store) ShipFrom(begin wal.LSN) error {
	head := s.M.Stats().Head
	if _, err := s.M.Wait(ctx, head, txn.Ack{Applied: true}); err != nil {
		return err
	}
	history := ship.History{head}
	if s.Begun.LSN != 0 {
		history = ship.History{s.Begun, head}
	}
	a, err := ship.Open(ctx, s.Archive, history, s.Shipping)
	if err != nil {
		return err
	}
	last := max(a.Position().LSN+1, begin) - 1
	tail, err := recovery.OpenTail(s.disk(), s.Dir, last+1)
	if err != nil {
		return err
	}
	defer tail.Close()
	err = a.Run(ctx, ship.Func(func(context.Context) (ship.Entry, error) {
		for last < head.LSN {
			rec, images, err := tail.Next()
			if err == nil {
				last = rec.LSN
				return ship.Entry{Entry: rec.Entry, Images: images}, nil
			}
			if err != io.EOF {
				return ship.Entry{}, err
			}
			time.Sleep(time.Millisecond) // it is not known to be durable yet
		}
		return ship.Entry{}, io.EOF
	}))
	if got := a.Status().Shipped; err == nil && got != head {
		err = fmt.Errorf("shipped up to %v of %v", got, head)
	}
	return err
}
