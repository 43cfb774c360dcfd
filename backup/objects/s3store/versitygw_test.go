//go:build s3

package s3store_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/objects/objectstest"
	"github.com/quire-db/quire/backup/objects/s3store"
	"github.com/quire-db/quire/backup/objects/s3store/s3test"
)

// modes in which a server is tried.
var modes = map[string]s3test.Options{
	"http":  {},
	"https": {TLS: true},
}

func TestConformanceOfVersitygw(t *testing.T) {
	for name, opts := range modes {
		t.Run(name, func(t *testing.T) {
			server := s3test.Start(t, opts)
			var n atomic.Int64
			objectstest.Run(t, func(t *testing.T) objects.Store {
				return openURL(t, server.URL(fmt.Sprint("store", n.Add(1))), s3store.Options{})
			})
		})
	}
}

func TestProcessesOnVersitygw(t *testing.T) {
	for name, opts := range modes {
		t.Run(name, func(t *testing.T) {
			objectstest.RunProcesses(t, s3test.Start(t, opts).URL("a/b"), openLocation)
		})
	}
}

// TestLargeObjectOnVersitygw is larger than what is sent before the server has
// agreed, and than any buffer.
func TestLargeObjectOnVersitygw(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", 2<<20) // 32 MiB
	for name, opts := range modes {
		t.Run(name, func(t *testing.T) {
			s := openURL(t, s3test.Start(t, opts).URL("large"), s3store.Options{})
			ok(t, put(s, "a", large))
			is(t, put(s, "a", large), objects.ErrExists)
			holds(t, s, "a", large)
			bad := objects.Bytes([]byte(large))
			bad.CRC++
			is(t, s.Put(background, "b", bad), objects.ErrChecksum)
			if has := keys(t, s, ""); len(has) != 1 {
				t.Errorf("it has %q", has)
			}
		})
	}
}

// TestProbeRefusesVersitygwWithoutMetadata: so run, it overwrites.
func TestProbeRefusesVersitygwWithoutMetadata(t *testing.T) {
	s := openURL(t, s3test.Start(t, s3test.Options{Careless: true}).URL("x"), s3store.Options{})
	err := objects.Probe(background, s, time.Now())
	is(t, err, objects.ErrUnfit)
	if !strings.Contains(err.Error(), s.String()) {
		t.Errorf("%v does not name the store", err)
	}
}
