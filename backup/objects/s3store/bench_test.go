package s3store_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/quire-db/quire/backup/objects"
	"github.com/quire-db/quire/backup/objects/s3store"
)

const benchBytes = 8 << 20

// benched is a store on a server that takes all and has zeros.
func benched(b *testing.B) objects.Store {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Method == http.MethodGet {
			w.Header().Set("Content-Length", strconv.Itoa(benchBytes))
			_, _ = io.CopyN(w, zeroes{}, benchBytes)
		}
	}))
	b.Cleanup(server.Close)
	b.Setenv("AWS_ACCESS_KEY_ID", "an-access-key")
	b.Setenv("AWS_SECRET_ACCESS_KEY", "a-secret-key")
	s, err := objects.Open(background, "s3://"+bucket+"?endpoint="+server.URL, s3store.Schemes(s3store.Options{}))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(benchBytes)
	b.ReportAllocs()
	return s
}

// zeroes reads as zeros without end.
type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { return zeros{}.ReadAt(p, 0) }

// BenchmarkPut of 8 MiB over http on loopback: most of it is SHA-256, twice CRC32C, and copying.
func BenchmarkPut(b *testing.B) {
	s := benched(b)
	body := objects.Bytes(make([]byte, benchBytes))
	for b.Loop() {
		if err := s.Put(background, "a", body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	s := benched(b)
	for b.Loop() {
		r, _, err := s.Get(background, "a", 0, -1)
		if err != nil {
			b.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, r); n != benchBytes || err != nil {
			b.Fatal(n, err)
		}
		_ = r.Close()
	}
}
