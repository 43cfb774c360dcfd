//go:build disks

package disks

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/quire-db/quire/wal"
)

// ack is one acknowledgement: a line in a file on a disk that does not crash.
type ack struct {
	writer, number int
	lsn            wal.LSN
	durable        bool
}

// note appends the acknowledgement in one write, so a kill leaves no half of it.
func (a ack) note(f *os.File) error {
	_, err := fmt.Fprintf(f, "%d %d %d %t\n", a.writer, a.number, a.lsn, a.durable)
	return err
}

// acks are those of one child.
type acks struct {
	base numbers // what there was before
	list []ack
}

// readAcks reads a child's file. A child that did not come to commit has none.
func readAcks(name string, base numbers) (a acks, err error) {
	a.base = base
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return a, nil
	}
	if err != nil {
		return a, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var k ack
		if _, err := fmt.Sscanf(lines.Text(), "%d %d %d %t", &k.writer, &k.number, &k.lsn, &k.durable); err != nil {
			return a, fmt.Errorf("%s: line %q: %w", name, lines.Text(), err)
		}
		a.list = append(a.list, k)
	}
	return a, lines.Err()
}

// durable is how many acknowledgements must survive anything.
func (a acks) durable() (n int) {
	for _, k := range a.list {
		if k.durable {
			n++
		}
	}
	return n
}

// allow says what is wrong with a store that ends at an LSN and holds so many
// commits: everything up to the last durable acknowledgement is there, what
// goes beyond is a prefix, and each writer had one more commit in flight at
// most.
func (a acks) allow(last wal.LSN, n numbers) error {
	most := a.base
	for _, k := range a.list {
		most[k.writer] = max(most[k.writer], k.number)
		switch {
		case k.durable && k.lsn > last:
			return fmt.Errorf("LOST: commit %d of writer %d, acknowledged at LSN %d: the store ends at %d", k.number, k.writer, k.lsn, last)
		case k.lsn <= last && k.number > n[k.writer]:
			return fmt.Errorf("LOST: the store ends at LSN %d, and commit %d of writer %d, at LSN %d, is not there: it is at %d", last, k.number, k.writer, k.lsn, n[k.writer])
		case k.lsn > last && k.number <= n[k.writer]:
			return fmt.Errorf("the store ends at LSN %d, and has commit %d of writer %d, which was at LSN %d", last, k.number, k.writer, k.lsn)
		}
	}
	for w := range writers {
		if n[w] < a.base[w] {
			return fmt.Errorf("LOST: commit %d of writer %d, which was there before: it is at %d", a.base[w], w, n[w])
		}
		if n[w] > most[w]+1 {
			return fmt.Errorf("the store has commit %d of writer %d, which was at %d", n[w], w, most[w])
		}
	}
	return nil
}
