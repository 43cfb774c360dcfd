package demo

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/wal"
)

// ack is one line of the file acks.
type ack struct {
	lsn wal.LSN
	txn string
	id  commitID
}

func readAcks(dir string) (acks []ack, err error) {
	err = eachLine(filepath.Join(dir, acksFile), func(line string) error {
		var a ack
		_, err := fmt.Sscanf(line, "%d %s %d %d", &a.lsn, &a.txn, &a.id.writer, &a.id.number)
		acks = append(acks, a)
		return err
	})
	return acks, err
}

func readTries(dir string) (tries []commitID, err error) {
	err = eachLine(filepath.Join(dir, triesFile), func(line string) error {
		var id commitID
		_, err := fmt.Sscanf(line, "%d %d", &id.writer, &id.number)
		tries = append(tries, id)
		return err
	})
	return tries, err
}

func eachLine(name string, do func(string) error) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if err := do(lines.Text()); err != nil {
			return fmt.Errorf("demo: %s: line %q: %w", name, lines.Text(), err)
		}
	}
	return lines.Err()
}

// logged is what the log says of one of the child's commits.
type logged struct {
	txn string
	id  commitID
}

// readLog reads the child's commits from the log on the disk, as far back as it
// goes, changing nothing.
func readLog(store string) (map[wal.LSN]logged, error) {
	found, err := recovery.Examine(vfs.OS(), store)
	if err != nil {
		return nil, err
	}
	entries := map[wal.LSN]logged{}
	from := found.Facts.Checkpoint.LSN + 1
	if from > found.Scan.Last {
		return entries, nil
	}
	for rec, err := range wal.Records(vfs.OS(), filepath.Join(store, "wal"), found.Facts.Generations, from, found.Scan.Last) {
		if err != nil {
			return nil, err
		}
		for _, x := range rec.Entry.Exts {
			if id, ok := parseMessage(string(x.Bytes)); ok && x.Type == wal.ExtMessage {
				entries[rec.LSN] = logged{rec.Entry.Txn.String(), id}
			}
		}
	}
	return entries, nil
}

// notProven says what is wrong.
func notProven(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrNotProven, fmt.Sprintf(format, args...))
}

// proves holds the recovered store against what was asked of it.
func (d *demo) proves(ctx context.Context) error {
	began := time.Now()
	acks, err := readAcks(d.c.Dir)
	if err != nil {
		return err
	}
	tries, err := readTries(d.c.Dir)
	if err != nil {
		return err
	}
	history, err := d.history(acks, tries)
	if err != nil {
		return err
	}
	s := &d.report.Prove
	s.Acknowledged, s.Unheard = len(acks), len(history)-len(acks)
	s.Absent = len(tries) - len(history)
	d.childs = history
	c := d.comparison(StepProve, d.m, storeDir, history)
	err = c.run(ctx)
	s.Volumes, s.Pages, s.Changed = c.volumes, c.pages, len(c.last)
	s.Seconds = time.Since(began).Seconds()
	return err
}

// history is the child's commits that the store holds, in order: one for each
// LSN behind the import.
func (d *demo) history(acks []ack, tries []commitID) ([]commitID, error) {
	first, last := wal.LSN(d.report.Import.Last)+1, wal.LSN(d.report.Recover.Last)
	at := map[wal.LSN]commitID{}
	for _, a := range acks {
		if a.lsn < first || a.lsn > last {
			return nil, notProven("transaction %s was acknowledged at LSN %d, the log has %d to %d", a.txn, a.lsn, first, last)
		}
		if l, ok := d.logged[a.lsn]; ok && (l.txn != a.txn || l.id != a.id) {
			return nil, notProven("LSN %d was acknowledged as transaction %s, the log has %s", a.lsn, a.txn, l.txn)
		}
		if a.lsn > wal.LSN(d.report.Recover.Checkpoint) && d.logged[a.lsn].txn == "" {
			return nil, notProven("transaction %s was acknowledged at LSN %d, the log does not show it", a.txn, a.lsn)
		}
		if other, ok := at[a.lsn]; ok {
			return nil, notProven("LSN %d was acknowledged twice, to %v and %v", a.lsn, other, a.id)
		}
		at[a.lsn] = a.id
	}
	for lsn, l := range d.logged {
		at[lsn] = l.id
	}
	settle(at, first, last, tries)
	history := make([]commitID, 0, len(at))
	for lsn := first; lsn <= last; lsn++ {
		id, ok := at[lsn]
		if !ok {
			return nil, notProven("LSN %d is nobody's: not acknowledged, and not in the log behind the checkpoint at LSN %d", lsn, d.report.Recover.Checkpoint)
		}
		history = append(history, id)
	}
	return history, d.checkWriters(history, tries)
}

// settle fills the one case that neither acks nor log can: a commit that a
// checkpoint covered before its writer could acknowledge it. If it is the only
// one it is known by being missing.
func settle(at map[wal.LSN]commitID, first, last wal.LSN, tries []commitID) {
	seen := map[commitID]bool{}
	for _, id := range at {
		seen[id] = true
	}
	var holes []wal.LSN
	for lsn := first; lsn <= last; lsn++ {
		if _, ok := at[lsn]; !ok {
			holes = append(holes, lsn)
		}
	}
	open := slices.DeleteFunc(slices.Clone(tries), func(id commitID) bool { return seen[id] })
	if len(holes) == 1 && len(open) == 1 {
		at[holes[0]] = open[0]
	}
}

// checkWriters makes sure that the commits of each writer are in order and
// without a hole, and that every one was asked for.
func (d *demo) checkWriters(history []commitID, tries []commitID) error {
	tried, done := make([]int, d.c.Writers), make([]int, d.c.Writers)
	for _, t := range tries {
		tried[t.writer] = max(tried[t.writer], t.number)
	}
	for _, id := range history {
		if id.writer < 0 || id.writer >= d.c.Writers || id.number != done[id.writer]+1 || id.number > tried[id.writer] {
			return notProven("the store holds commit %d of writer %d, which was at %d and had begun %d",
				id.number, id.writer, done[id.writer], tried[id.writer])
		}
		done[id.writer] = id.number
	}
	return nil
}

// written says which edit a page holds.
type written struct {
	id   commitID
	edit int
}

// replay finds who wrote each page last. Pages that nobody wrote are as they
// were imported.
func (p *Plan) replay(history []commitID) map[Edit]written {
	last := map[Edit]written{}
	for _, id := range history {
		for i, e := range p.Edits(id.writer, id.number) {
			last[e] = written{id, i}
		}
	}
	return last
}
