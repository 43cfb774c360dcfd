package txn

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/recovery"
	"github.com/quire-db/quire/wal"
)

func sampleNotice() HoldsNotice {
	at := time.Date(2026, 11, 21, 16, 0, 0, 0, time.UTC)
	return HoldsNotice{
		Written: at.Add(time.Hour), Total: 3, KeptBytes: 12345,
		Holds: []HoldInfo{
			{Kind: HoldHold, Owner: "backup", Reason: "nightly \"full\"", LSN: 7, Since: at, Expires: at.Add(2 * time.Hour), KeptBytes: 8192},
			{Kind: HoldTransaction, Owner: "0191", LSN: 9, Since: at.Add(time.Minute)},
		},
	}
}

func TestHoldsNoticeGolden(t *testing.T) {
	got, err := encodeNotice("process 7 on host", sampleNotice())
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join("testdata", "v1.holds")
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != strings.TrimSpace(string(want)) {
		t.Errorf("encodes as\n%s\nwant\n%s", got, want)
	}
	owner, n, err := decodeNotice(want)
	if err != nil || owner != "process 7 on host" || !reflect.DeepEqual(n, sampleNotice()) {
		t.Errorf("%q %+v %v", owner, n, err)
	}
}

func TestHoldsNoticeRefused(t *testing.T) {
	for _, bad := range []string{
		"", "{}", "null", "[]", `{"version":0}`, `{"version":1,"total":-1}`, `{"version":1}x`,
		`{"version":1,"total":0,"holds":[{"kind":"hold","lsn":1}]}`,
		`{"version":1,"total":1,"holds":[{"kind":"hold"}]}`,
		`{"version":1,"total":1,"holds":[{"lsn":1}]}`,
		`{"version":1,"total":1,"holds":[{"kind":"hold","lsn":-1}]}`,
		`{"version":1,"total":9999,"holds":[` + strings.Repeat(`{"kind":"hold","lsn":1},`, maxListed) + `{"kind":"hold","lsn":1}]}`,
		`{"version":1,"owner":"` + strings.Repeat("x", maxHoldsBytes) + `"}`,
	} {
		if _, n, err := decodeNotice([]byte(bad)); err == nil {
			t.Errorf("%.60q is %+v", bad, n)
		}
	}
	if _, _, err := decodeNotice([]byte(`{"version":2}`)); !errors.Is(err, wal.ErrVersion) {
		t.Errorf("a newer version: %v", err)
	}
}

func FuzzDecodeHolds(f *testing.F) {
	b, _ := encodeNotice("process 7 on host", sampleNotice())
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		owner, n, err := decodeNotice(b)
		if err != nil {
			return
		}
		again, err := encodeNotice(owner, n)
		if err != nil {
			return // a time that cannot be written
		}
		owner2, n2, err := decodeNotice(again)
		if err != nil && len(again) <= maxHoldsBytes || err == nil && (owner2 != owner || !n2.equal(n.inUTC())) {
			t.Fatalf("%+v\nis read as\n%+v, %v", n, n2, err)
		}
	})
}

// inUTC is n with the times as they are written.
func (n HoldsNotice) inUTC() HoldsNotice {
	for i := range n.Holds {
		n.Holds[i].Since, n.Holds[i].Expires = n.Holds[i].Since.UTC(), n.Holds[i].Expires.UTC()
	}
	return n
}

// openForNotices opens a store and does the keeper's part at a time of the test's, without the
// keeper.
func openForNotices(t *testing.T, dir string) (m *Manager, step func(time.Duration)) {
	t.Helper()
	m, _, err := Open(dir, Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	close(m.closing) // the keeper and the others end: the test is the keeper
	m.running.Wait()
	m.closing = make(chan struct{})
	now := time.Now()
	m.opts.Now = func() time.Time { return now }
	return m, func(d time.Duration) {
		now = now.Add(d)
		m.giveNotice()
	}
}

func TestHoldsNotice(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	notice := func() (HoldsNotice, bool) {
		t.Helper()
		n, ok, err := ReadHolds(vfs.OS(), dir)
		if err != nil {
			t.Fatal(err)
		}
		return n, ok
	}
	if _, ok := notice(); ok {
		t.Fatal("there is no store yet")
	}
	// What a killed process left is removed, whoever wrote it.
	for _, name := range []string{recovery.HoldsName, recovery.HoldsName + ".tmp"} {
		if m, _, err := Open(dir, Options{Create: true}); err != nil {
			t.Fatal(err)
		} else if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte("left"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m, step := openForNotices(t, dir)
	for _, name := range []string{recovery.HoldsName, recovery.HoldsName + ".tmp"} {
		if _, err := os.Stat(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s was not removed: %v", name, err)
		}
	}

	h, err := m.Hold(ctx, HoldOptions{Owner: "backup", Reason: "nightly"})
	if err != nil {
		t.Fatal(err)
	}
	tx, err := m.Begin(ctx, TxOptions{ReadOnly: true, Message: "report"})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	step(0)
	if _, ok := notice(); ok {
		t.Error("something young is told")
	}
	step(holdsEvery)
	n, ok := notice()
	if !ok || n.Total != 2 || len(n.Holds) != 2 || n.Holds[0].LSN != m.Stats().Published {
		t.Fatalf("%v %+v", ok, n)
	}
	for _, i := range n.Holds {
		if i.Kind == HoldHold && (i.Owner != "backup" || i.Reason != "nightly") || i.Kind == HoldTransaction && i.Reason != "report" {
			t.Errorf("%+v", i)
		}
	}
	written := n.Written
	step(10 * holdsEvery)
	if n, _ := notice(); n.Written != written {
		t.Error("written although nothing changed")
	}
	h.Release()
	step(holdsEvery / 2)
	if n, _ := notice(); n.Total != 2 {
		t.Error("written too early")
	}
	step(holdsEvery)
	if n, _ := notice(); n.Total != 1 {
		t.Errorf("%+v", n)
	}

	// Another process' notice is of no worth, and a bad one is an error.
	b, err := encodeNotice("process 1 on another", n)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, recovery.HoldsName)
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if n, ok := notice(); ok {
		t.Errorf("believed %+v", n)
	}
	if err := os.WriteFile(name, []byte("no notice"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := ReadHolds(vfs.OS(), dir); ok || err == nil {
		t.Errorf("read: %v", err)
	}

	tx.Rollback()
	step(holdsEvery)
	if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing is held, but the notice is there: %v", err)
	}
	if _, err := m.Hold(ctx, HoldOptions{}); err != nil {
		t.Fatal(err)
	}
	step(holdsEvery) // too young
	step(holdsEvery)
	if _, ok := notice(); !ok {
		t.Fatal("no notice")
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the store is closed, but the notice is there: %v", err)
	}
}

// A notice that cannot be written is no harm.
func TestHoldsNoticeFails(t *testing.T) {
	dir := t.TempDir()
	m, step := openForNotices(t, dir)
	if _, err := m.Hold(context.Background(), HoldOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, recovery.HoldsName+".tmp", "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	step(2 * holdsEvery)
	if _, ok, err := ReadHolds(vfs.OS(), dir); ok || err != nil {
		t.Errorf("%v %v", ok, err)
	}
	if err := os.RemoveAll(filepath.Join(dir, recovery.HoldsName+".tmp")); err != nil {
		t.Fatal(err)
	}
	step(holdsRetry)
	if _, ok, err := ReadHolds(vfs.OS(), dir); !ok || err != nil {
		t.Errorf("%v %v", ok, err)
	}
}
