package pagestore_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/quire-db/quire/apply/pagestore"
	"github.com/quire-db/quire/apply/pagestore/pagestoretest"
	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/wal"
)

func loads(heads []pagestore.Head, forms ...[]byte) error {
	return pagestoretest.Load(crashfs.New(), "/loaded", heads, forms)
}

// refused is an error that a form which is not valid may have.
func refused(err error) bool {
	return errors.Is(err, wal.ErrCorrupt) || errors.Is(err, wal.ErrVersion) || errors.Is(err, wal.ErrTooLarge)
}

// A form that was cut is refused, and so is one of which any bit was flipped,
// unless that makes another valid one: of facts that nothing else repeats.
func TestLoadDamaged(t *testing.T) {
	heads, forms := pagestoretest.Loaded(t, 5, 40, memory)
	ok := loads(heads, forms...)
	if ok != nil {
		t.Fatal(ok)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	taken := 0
	for range 300 {
		i := rng.IntN(len(forms))
		damaged := [][]byte{forms[0], forms[1]}
		if rng.IntN(4) == 0 {
			damaged[i] = damaged[i][:rng.IntN(len(damaged[i]))]
		} else {
			damaged[i] = bytes.Clone(damaged[i])
			damaged[i][rng.IntN(len(damaged[i]))] ^= 1 << rng.IntN(8)
		}
		switch err := loads(heads, damaged...); {
		case err == nil && len(damaged[i]) == len(forms[i]):
			taken++
		case !refused(err):
			t.Fatalf("%v", err)
		}
	}
	if taken > 60 {
		t.Errorf("%d of 300 damaged forms were taken", taken)
	}
}

// An increment is not loaded without its base, nor twice.
func TestLoadOutOfOrder(t *testing.T) {
	heads, forms := pagestoretest.Loaded(t, 6, 20, memory)
	if err := loads(heads[1:], forms[1]); !refused(err) {
		t.Errorf("without its base: %v", err)
	}
	if err := loads([]pagestore.Head{heads[0], heads[0]}, forms[0], forms[0]); err == nil {
		t.Error("the same one twice")
	}
}

// FuzzLoad: any bytes are a snapshot or an error, whatever else they are behind.
func FuzzLoad(f *testing.F) {
	heads, forms := pagestoretest.Loaded(f, 127, 6, memory)
	f.Add(forms[1], false)
	f.Add(forms[0], true)
	f.Fuzz(func(t *testing.T, form []byte, whole bool) {
		var err error
		if whole {
			err = loads(heads[:1], form)
		} else {
			err = loads(heads, forms[0], form)
		}
		if err != nil && !refused(err) {
			t.Fatal(err)
		}
	})
}

// TestGoldenPortable: the form of a certain history stays readable.
func TestGoldenPortable(t *testing.T) {
	heads, forms := pagestoretest.Loaded(t, 127, 6, memory)
	for i, name := range []string{"portable-whole.v1.golden", "portable-increment.v1.golden"} {
		name = filepath.Join("testdata", name)
		if flag.Lookup("update").Value.String() == "true" {
			if err := os.WriteFile(name, forms[i], 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(forms[i], want) {
			t.Errorf("%s is not what is written: %s", name, hex.EncodeToString(forms[i][:64]))
		}
		forms[i] = want
	}
	if err := loads(heads, forms...); err != nil {
		t.Error(err)
	}
}
