package bench

import (
	"encoding/binary"
	"math/rand/v2"
)

// load makes the transactions of one writer: distinct random pages of a
// volume, with bytes that never repeat.
type load struct {
	rng      *rand.Rand
	pageSize int
	pages    uint64   // of the volume
	taken    []uint64 // one bit a page: chosen for this transaction already
	nos      []uint64
	buf      []byte // the pages, one after the other
}

func newLoad(writer, pagesEach, pageSize int, volumePages uint64) *load {
	l := &load{
		rng: rand.New(rand.NewPCG(uint64(writer), rand.Uint64())), pageSize: pageSize, pages: volumePages,
		taken: make([]uint64, (volumePages+63)/64), nos: make([]uint64, pagesEach), buf: make([]byte, pagesEach*pageSize),
	}
	for i := 0; i+8 <= len(l.buf); i += 8 {
		binary.LittleEndian.PutUint64(l.buf[i:], l.rng.Uint64())
	}
	return l
}

// next makes the next transaction. The bytes of a page stay random; a stamp
// makes them new.
func (l *load) next() {
	for i := range l.nos {
		l.nos[i] = l.choose()
		binary.LittleEndian.PutUint64(l.buf[i*l.pageSize:], l.rng.Uint64())
	}
	for _, no := range l.nos {
		l.taken[no/64] &^= 1 << (no % 64)
	}
}

func (l *load) choose() uint64 {
	for {
		no := l.rng.Uint64N(l.pages)
		if l.taken[no/64]&(1<<(no%64)) == 0 {
			l.taken[no/64] |= 1 << (no % 64)
			return no
		}
	}
}

func (l *load) page(i int) []byte { return l.buf[i*l.pageSize:][:l.pageSize] }
