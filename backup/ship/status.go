package ship

import (
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/quire-db/quire/wal"
)

// Status is where an archiver stands.
type Status struct {
	URL     string       // of the store of objects, without secrets
	Archive uuid.UUID    // zero until FORMAT was read
	Shipped wal.Position // the archive has all entries up to it, but for those that were skipped
	Read    wal.Position // of the stream of entries
	Store   wal.LSN      // the newest durable entry of the store that is known

	LagEntries uint64 // that the store has and the archive has not
	LagBytes   int64  // of frames that were read and not put

	LastSuccess time.Time // of a put of entries, or when they were found there
	LastError   string    // of a call of the object store, or what ended the archiver
	LastErrorAt time.Time
	Failing     bool // since LastSuccess

	Objects uint64 // put: appends, blobs and what begins and marks logs
	Bytes   uint64 // of them
	Adopted uint64 // appends that were there already, with the same history
	Skipped uint64 // entries that could not be had any more, and were left out
	Retries uint64
}

// gauge keeps a Status that anybody may read.
type gauge struct {
	mu  sync.Mutex
	s   Status
	now func() time.Time
}

func (g *gauge) change(do func(s *Status)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	do(&g.s)
}

func (g *gauge) read() Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.s
	s.Store = max(s.Store, s.Read.LSN)
	if s.Store > s.Shipped.LSN {
		s.LagEntries = uint64(s.Store - s.Shipped.LSN)
	}
	return s
}

// failed notes an error, that of a try or the last one.
func (g *gauge) failed(err error) {
	g.change(func(s *Status) { s.LastError, s.LastErrorAt, s.Failing = err.Error(), g.now(), true })
}

func (g *gauge) retried(err error) {
	g.failed(err)
	g.change(func(s *Status) { s.Retries++ })
}

func (g *gauge) put(bytes int) {
	g.change(func(s *Status) { s.Objects++; s.Bytes += uint64(bytes) })
}

func (g *gauge) shipped(at wal.Position) {
	g.change(func(s *Status) { s.Shipped, s.LastSuccess, s.Failing = at, g.now(), false })
}
