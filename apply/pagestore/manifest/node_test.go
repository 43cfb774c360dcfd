package manifest_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/quire-db/quire/apply/pagestore/manifest"
	"github.com/quire-db/quire/wal"
)

// goldenNode has a node in an edit, and then in a snapshot.
func goldenNode(t *testing.T) ([]byte, manifest.Facts) {
	d := disk(t)
	f := newFacts()
	f.Node = manifest.Node{Role: manifest.Follower, Place: "1234 of 1700000000"}
	m, err := manifest.Create(d, dir, f)
	if err != nil {
		t.Fatal(err)
	}
	n := manifest.Node{Role: manifest.Successor, ID: uuid.UUID{7, 8, 9}, Place: "77 of 1800000000"}
	if _, err := m.Append(manifest.Edit{Node: &n}); err != nil {
		t.Fatal(err)
	}
	return records(t, d), load(t, d)
}

// Golden files of a version are never rewritten.
func TestGoldenNode(t *testing.T) {
	b, want := goldenNode(t)
	name := filepath.Join("testdata", "v1-node.manifest")
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
		t.Error("the writer no longer makes version 1 with a node")
	}
	got := load(t, with(t, kept))
	if !same(got, want) || got.Node.Role != manifest.Successor || got.ID() != (uuid.UUID{7, 8, 9}) || got.Node.Place != "77 of 1800000000" {
		t.Errorf("read %+v, want %+v", got, want)
	}
}

// A store from before nodes is a writer, and its UUID is that of its files.
func TestAStoreFromBeforeNodesIsAWriter(t *testing.T) {
	kept, err := os.ReadFile(filepath.Join("testdata", "v1.manifest"))
	if err != nil {
		t.Fatal(err)
	}
	f := load(t, with(t, kept))
	if f.Node != (manifest.Node{}) || f.Node.Role != manifest.Writer || f.ID() != f.Store {
		t.Errorf("%+v, %v", f.Node, f.ID())
	}
}

// What cannot be is refused, and changes nothing.
func TestANodeThatCannotBe(t *testing.T) {
	d := disk(t)
	m, err := manifest.Create(d, dir, newFacts())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		node manifest.Node
		want error
	}{
		{manifest.Node{Role: 3}, wal.ErrVersion},
		{manifest.Node{Place: strings.Repeat("x", manifest.MaxPlace+1)}, wal.ErrTooLarge},
	} {
		if _, err := m.Append(manifest.Edit{Node: &c.node}); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c.node, err)
		}
	}
	if f := load(t, d); f.Node != (manifest.Node{}) {
		t.Errorf("%+v", f.Node)
	}
}
