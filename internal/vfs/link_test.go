package vfs_test

import (
	"errors"
	"io"
	"testing"

	"github.com/quire-db/quire/internal/vfs"
	"github.com/quire-db/quire/internal/vfs/vfstest"
)

func TestLinkerConformance(t *testing.T) {
	vfstest.RunLinker(t, func(t *testing.T) (vfs.Linker, string) { return vfs.OSLinker(), t.TempDir() })
}

func TestIsRefusal(t *testing.T) {
	for _, err := range []error{nil, io.ErrUnexpectedEOF, errors.New("stale handle")} {
		if vfs.IsRefusal(err) {
			t.Errorf("%v is taken for a refusal", err)
		}
	}
}
