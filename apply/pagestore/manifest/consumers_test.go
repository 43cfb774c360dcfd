package manifest_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/wal"
)

func consumer(name string, lsn wal.LSN) manifest.Consumer {
	return manifest.Consumer{Name: name, Acked: wal.Position{Timeline: wal.TimelineID{9}, LSN: lsn, Hash: wal.Hash{byte(lsn)}}}
}

// goldenConsumers has consumers in an edit, and then in a snapshot.
func goldenConsumers(t *testing.T) ([]byte, manifest.Facts) {
	d := disk(t)
	f := newFacts()
	f.Consumers = []manifest.Consumer{consumer("archive", 12)}
	m, err := manifest.Create(d, dir, f)
	if err != nil {
		t.Fatal(err)
	}
	list := manifest.WithConsumer(f.Consumers, consumer("archive", 77))
	list = manifest.WithConsumer(list, manifest.Consumer{Name: "slow", Acked: wal.Position{LSN: 3}, Dropped: true, Kept: 1 << 30})
	if _, err := m.Append(manifest.Edit{Consumers: &list}); err != nil {
		t.Fatal(err)
	}
	return records(t, d), load(t, d)
}

// Golden files of a version are never rewritten.
func TestGoldenConsumers(t *testing.T) {
	b, want := goldenConsumers(t)
	name := filepath.Join("testdata", "v1-consumers.manifest")
	if _, err := os.Stat(name); *update && os.IsNotExist(err) {
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(kept, b) {
		t.Error("the writer no longer makes version 1 with consumers")
	}
	got := load(t, with(t, kept))
	if !same(got, want) || len(got.Consumers) != 2 || got.Consumers[0].Acked.LSN != 77 || !got.Consumers[1].Dropped {
		t.Errorf("read %+v, want %+v", got, want)
	}
}

// A store from before consumers opens, and has none; what a consumer may begin
// with is what its checkpoint left.
func TestAStoreFromBeforeConsumersOpens(t *testing.T) {
	kept, err := os.ReadFile(filepath.Join("testdata", "v1.manifest"))
	if err != nil {
		t.Fatal(err)
	}
	d := with(t, kept)
	m, f, _, err := manifest.Open(d, dir)
	if err != nil || len(f.Consumers) != 0 {
		t.Fatal(f.Consumers, err)
	}
	f.LowWater = 0
	if f.Kept() != f.Checkpoint.LSN+1 {
		t.Errorf("kept from LSN %d on", f.Kept())
	}
	list := []manifest.Consumer{consumer("c", 77)}
	if _, err := m.Append(manifest.Edit{Consumers: &list}); err != nil {
		t.Fatal(err)
	}
	if got := load(t, d); len(got.Consumers) != 1 || got.Consumers[0] != list[0] {
		t.Errorf("%+v", got.Consumers)
	}
	none := []manifest.Consumer{}
	if _, err := m.Append(manifest.Edit{Consumers: &none}); err != nil || len(load(t, d).Consumers) != 0 {
		t.Error("the last one cannot be dropped:", err)
	}
	if err := m.CloseClean(77); err != nil {
		t.Fatal(err)
	}
}

// Acknowledgements and the low-water mark never go back, and the mark never
// passes a consumer that was not dropped.
func TestConsumersNeverGoBack(t *testing.T) {
	m, err := manifest.Create(disk(t), dir, newFacts())
	if err != nil {
		t.Fatal(err)
	}
	edit := func(low wal.LSN, list ...manifest.Consumer) error {
		_, err := m.Append(manifest.Edit{LowWater: low, Consumers: &list})
		return err
	}
	if err := edit(0, consumer("a", 10), consumer("b", 20)); err != nil {
		t.Fatal(err)
	}
	dropped := consumer("a", 10)
	dropped.Dropped = true
	for name, err := range map[string]error{
		"backwards":    edit(0, consumer("a", 9), consumer("b", 20)),
		"disorder":     edit(0, consumer("b", 20), consumer("a", 10)),
		"twice":        edit(0, consumer("a", 10), consumer("a", 10)),
		"no name":      edit(0, consumer("", 10)),
		"a long name":  edit(0, consumer(strings.Repeat("n", manifest.MaxConsumerName+1), 10)),
		"passed over":  edit(12, consumer("a", 10), consumer("b", 20)),
		"passed over ": func() error { _, err := m.Append(manifest.Edit{LowWater: 12}); return err }(),
	} {
		if err == nil || errors.Is(err, manifest.ErrPoisoned) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := errors.Join(edit(11, consumer("a", 10), consumer("b", 20)), edit(15, dropped, consumer("b", 20))); err != nil {
		t.Fatal(err)
	}
	if err := edit(0, consumer("a", 11), consumer("b", 20)); err == nil {
		t.Error("a consumer begins where nothing is kept any more")
	}
	f := m.Facts()
	if f.Needed(30) != 21 || f.Needed(15) != 16 || f.Needed(9) != 15 {
		t.Errorf("needed: %d, %d, %d", f.Needed(30), f.Needed(15), f.Needed(9))
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}

// A record with parts of a newer program is refused as such, not as damage.
func TestPartsOfANewerProgram(t *testing.T) {
	b, _ := goldenConsumers(t)
	const header, record = 36, 24
	second := header + record + int(binary.LittleEndian.Uint32(b[header+4:]))
	seed := crc32.Checksum(b[:32], crc32.MakeTable(crc32.Castagnoli))
	for name, at := range map[string]int{"snapshot": header, "edit": second} {
		b := bytes.Clone(b)
		n := record + int(binary.LittleEndian.Uint32(b[at+4:]))
		b[at+record+1] |= 0x80
		crc := crc32.Update(seed, crc32.MakeTable(crc32.Castagnoli), b[at:at+20])
		binary.LittleEndian.PutUint32(b[at+20:], crc32.Update(crc, crc32.MakeTable(crc32.Castagnoli), b[at+record:at+n]))
		if _, _, err := manifest.Load(with(t, b), dir); !errors.Is(err, wal.ErrVersion) || errors.Is(err, wal.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
