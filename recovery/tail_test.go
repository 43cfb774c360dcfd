package recovery_test

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/tests/verifytest"
	"github.com/quire-db/quire/txn"
	"github.com/quire-db/quire/wal"
)

// TestTornTail damages the last entry, which no mark covers yet: that is no
// problem, but a tail that opening cuts, keeps and reports.
func TestTornTail(t *testing.T) {
	dir, b := build(t, 8, txn.Options{})
	b.mixed()
	var before oracle
	var found *recovery.Findings
	torn := filepath.Join(t.TempDir(), "torn")
	for try := 0; found == nil || found.Scan.Durable.LSN == found.Scan.Last; try++ { // a mark was written already
		if try == 20 {
			t.Fatal("the machine is too slow to copy a store before a mark is written")
		}
		before = b.now.clone()
		b.write("plain", 2, 100)
		must(t, os.RemoveAll(torn))
		copyDir(t, dir, torn)
		var err error
		found, err = recovery.Examine(vfs.OS(), torn)
		must(t, err)
	}
	b.close()
	last := found.Scan.Last
	for rec, err := range wal.Records(vfs.OS(), filepath.Join(torn, "wal"), found.Facts.Generations, last, last) {
		must(t, err)
		flip{file: filepath.Join("wal", rec.Gen.Path()), off: rec.Offset + rec.Length/2}.apply(t, torn)
	}

	rep := verifytest.Clean(t, torn)
	if rep.Cut == nil || rep.Cut.LSN != last || rep.Cut.Entries != 1 || rep.Last != last-1 {
		t.Fatalf("%+v, cut %+v", rep, rep.Cut)
	}
	if err := compare(t, torn, before); err != nil {
		t.Error(err)
	}
	m, opened, err := txn.Open(torn, txn.Options{})
	must(t, err)
	if !reflect.DeepEqual(opened.Cut, rep.Cut) || len(opened.CutFiles) != 1 {
		t.Errorf("opening cut %+v, kept %v, not %+v", opened.Cut, opened.CutFiles, rep.Cut)
	}
	if err := readAll(t, m, before); err != nil {
		t.Error(err)
	}
	must(t, m.Close())
	if rep := verifytest.Clean(t, torn); !rep.ClosedCleanly || rep.Cut != nil {
		t.Errorf("%+v", rep)
	}
}
