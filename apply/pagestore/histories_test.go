package pagestore_test

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/quire-db/quire/apply/pagestore/pagestoretest"
	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/internal/vfs/crashfs"
)

// fewHistories are those of an ordinary run; QUIRE_HISTORIES asks for more.
const fewHistories = 200

// TestHistories: whatever changes, tags, forks, holds, checkpoints and
// reopenings follow each other, no slot is used again early and none leaks.
func TestHistories(t *testing.T) {
	n := uint64(fewHistories)
	if text := os.Getenv("QUIRE_HISTORIES"); text != "" {
		var err error
		if n, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	for shard := range uint64(2) {
		t.Run(fmt.Sprint("shard ", shard), func(t *testing.T) {
			t.Parallel()
			for seed := shard; seed < n; seed += 2 {
				t.Run(fmt.Sprint(seed), func(t *testing.T) { pagestoretest.History(t, seed, memory) })
			}
		})
	}
	t.Logf("%d histories", n)
}

func memory(t testing.TB) (vfs.FS, string) {
	disk := crashfs.New()
	if err := disk.Mkdir("/store"); err != nil {
		t.Fatal(err)
	}
	return disk, "/store"
}
