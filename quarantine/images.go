package quarantine

import (
	"github.com/quire-db/quire/internal/heap"
	"github.com/quire-db/quire/wal"
)

// images is the table of all images of a volume in a stage, by id. Ids ascend
// with time, so those made since a savepoint are those from some id on. It
// costs 24 bytes an image and holds no pointers for the collector to follow.
type images struct {
	rows [][]image
	n    uint32
}

// image is where a page's bytes lie: in the heap, or, with bit 63 of addr set,
// in Pages.memory at the index that the other bits are. The zero addr is
// nowhere: an id that is free.
type image struct {
	addr uint64
	hash wal.PageHash // of what lies in the heap
}

const (
	inMemory  = 1 << 63
	tableRow  = 1024
	maxImages = 1<<32 - 1
)

func (t *images) at(id uint32) *image { return &t.rows[id/tableRow][id%tableRow] }

// add makes a new id.
func (t *images) add() uint32 {
	if t.n%tableRow == 0 {
		t.rows = append(t.rows, nil)
	}
	row := &t.rows[t.n/tableRow]
	if n := len(*row); n == cap(*row) { // not left to append, which would take a quarter too much
		*row = append(make([]image, 0, min(max(8, 4*n), tableRow)), *row...)
	}
	*row = append(*row, image{})
	t.n++
	return t.n - 1
}

// truncate forgets the ids from n on.
func (t *images) truncate(n uint32) {
	t.rows = t.rows[:(n+tableRow-1)/tableRow]
	if n%tableRow != 0 {
		last := &t.rows[n/tableRow]
		*last = (*last)[:n%tableRow]
	}
	t.n = n
}

func (m *image) loaded() bool    { return m.addr&inMemory != 0 }
func (m *image) place() int      { return int(m.addr &^ inMemory) }
func (m *image) slot() heap.Slot { return heap.Slot(m.addr) }

// memory is an image that is in memory.
type memory struct {
	id   uint32
	home heap.Slot // the slot that the image has in the heap, or none yet
	page uint64
	buf  *buffer
}

// buffer is one page's bytes, from the Area's pool.
type buffer struct{ bytes []byte }
