package txn

import (
	"context"
	"testing"

	"github.com/quire-db/quire/apply"
	"github.com/quire-db/quire/wal"
)

// The tag that a crash leaves of a fork is dropped by the next one behind the
// reopening; that of a fork which is under way is not.
func TestCarryTagLeftByACrash(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	m := openOrFail(t, dir)
	var id wal.VolumeID
	value := byte(0)
	write := func() {
		t.Helper()
		_, err := m.Update(ctx, func(tx *Tx) error {
			v, err := tx.find("v")
			if v == nil && err == nil {
				v, err = tx.CreateVolume("v", VolumeOptions{PageSize: 512})
			}
			if err != nil {
				return err
			}
			id = v.ID()
			value++
			page := make([]byte, 512)
			page[0] = value
			return v.WritePage(0, page)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	carry := func(name wal.RefName) {
		t.Helper()
		if there, err := m.tagForCarry(ctx, id, carryTags+name); err != nil || !there {
			t.Fatalf("%v, %v", there, err)
		}
	}
	write()
	carry("left")
	write()
	carry("left too")
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	m = openOrFail(t, dir)
	defer func() { m.Close() }()
	carry("under way")
	wantTags(t, m, carryTags+"under way")

	tx, err := m.Begin(ctx, TxOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	v, err := tx.Volume("v")
	if err != nil {
		t.Fatal(err)
	}
	write()
	if _, err := m.Fork(ctx, "f", v); err != nil {
		t.Fatal(err)
	}
	wantTags(t, m, carryTags+"under way")
	_, err = m.Update(ctx, func(tx *Tx) error { // what was left can be dropped by hand, too
		v, err := tx.Volume("v")
		if err != nil {
			return err
		}
		return tx.DeleteTag(v, string(carryTags+"under way"))
	})
	if err != nil {
		t.Fatal(err)
	}
	wantTags(t, m)
}

func openOrFail(t *testing.T, dir string) *Manager {
	t.Helper()
	m, _, err := Open(dir, Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func wantTags(t *testing.T, m *Manager, want ...string) {
	t.Helper()
	var got []string
	err := m.View(context.Background(), func(tx *Tx) error {
		for tag, err := range tx.Tags("v") {
			if err != nil {
				return err
			}
			got = append(got, tag.Name)
		}
		return nil
	})
	if err != nil || len(got) != len(want) || len(got) > 0 && got[0] != want[0] {
		t.Errorf("tags %v, %v; want %v", got, err, want)
	}
}

// A conflict about what a fork begins from is one.
func TestMismatchOfABaseIsAConflict(t *testing.T) {
	v := &Volume{id: wal.VolumeID{7}, volumeState: volumeState{attrs: wal.VolumeAttrs{Name: "f"}}}
	s := &sealed{vols: []sealedVolume{{v: v}}}
	c, ok := s.conflictOf(&apply.MismatchError{Volume: v.id, What: "base"}).(*ConflictError)
	if !ok || c.What != "base" || c.Name != "f" {
		t.Errorf("%+v", c)
	}
}
