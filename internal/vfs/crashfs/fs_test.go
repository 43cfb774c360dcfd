package crashfs_test

import (
	"testing"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/internal/vfs/crashfs"
	"github.com/quire-db/quire/internal/vfs/vfstest"
)

func TestConformance(t *testing.T) {
	vfstest.Run(t, func(t *testing.T) (vfs.FS, string) {
		disk := crashfs.New()
		if err := disk.Mkdir("/work"); err != nil {
			t.Fatal(err)
		}
		return disk, "/work"
	})
}
