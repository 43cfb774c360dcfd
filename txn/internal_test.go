package txn

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/quire-db/quire/apply"
	"github.com/quire-db/quire/wal"
)

// A manager knows the ordinals of the generations that there are, not of all
// that ever were.
func TestOrdinalsAreForgotten(t *testing.T) {
	ctx := context.Background()
	m, _, err := Open(t.TempDir(), Options{Create: true, GenerationBytes: wal.MinGenerationBytes})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	data := make([]byte, wal.MaxExtensionBytes)
	for i := range 200 { // six generations
		_, err := m.UpdateWith(ctx, TxOptions{Metadata: data}, func(tx *Tx) error {
			_, err := tx.CreateVolume(fmt.Sprint(i), VolumeOptions{})
			return err
		})
		if err == nil && i%20 == 19 {
			err = m.Checkpoint(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	facts := m.store.Facts().Generations
	if len(m.ordinals.m) > len(facts) {
		t.Errorf("%d ordinals are known, of %d generations", len(m.ordinals.m), len(facts))
	}
	for _, g := range facts {
		if _, ok := m.ordinals.m[g.ID]; !ok {
			t.Errorf("the ordinal of generation %s is forgotten", g.ID)
		}
	}
}

// What does not fit any more is a *ConflictError, as every conflict is. Two
// committers do not get that far, since the names they looked up are compared
// before.
func TestMismatchIsAConflict(t *testing.T) {
	v := &Volume{id: wal.VolumeID{7}, volumeState: volumeState{attrs: wal.VolumeAttrs{Name: "v"}}}
	s := &sealed{vols: []sealedVolume{{v: &Volume{id: wal.VolumeID{3}}}, {v: v}}}
	for of, want := range map[string]string{"name": "name", "place": "existence"} {
		err := s.conflictOf(fmt.Errorf("wrapped: %w", &apply.MismatchError{Volume: v.id, What: of}))
		var got *ConflictError
		if !errors.Is(err, ErrConflict) || !errors.As(err, &got) {
			t.Fatalf("%s: %v", of, err)
		}
		if got.Volume != v.id || got.Name != "v" || got.What != want {
			t.Errorf("%s: %+v", of, got)
		}
	}
	if other := errors.New("other"); s.conflictOf(other) != other {
		t.Error("another error is changed")
	}
}
