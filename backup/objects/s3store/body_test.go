package s3store

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/quire-db/quire/backup/objects"
)

// TestSender: a body can be read in pieces of any size, anew from its beginning,
// and is counted as sent only when the last pass came to its end behind a connection.
func TestSender(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 100)
	if err := iotest.TestReader(struct{ io.Reader }{newSender(objects.Bytes(data))}, data); err != nil {
		t.Error(err)
	}
	s := newSender(objects.Bytes(data))
	s.connected = true
	read := func(n int64, want bool) {
		t.Helper()
		if _, err := io.CopyN(io.Discard, s, n); err != nil || s.maybeSent() != want {
			t.Errorf("%v, sent: %v", err, s.maybeSent())
		}
	}
	rewind := func() {
		t.Helper()
		if at, err := s.Seek(0, io.SeekStart); at != 0 || err != nil {
			t.Errorf("at %d, %v", at, err)
		}
	}
	read(999, false)
	read(1, true)
	rewind()
	read(0, false)
	read(500, false)
	rewind()
	read(1000, true)
	if _, err := s.Seek(5, io.SeekStart); err == nil {
		t.Error("it was sought elsewhere")
	}
}

// TestSenderKeepsTheEnd of what is not what it should be, whatever the pieces.
func TestSenderKeepsTheEnd(t *testing.T) {
	body := objects.Bytes([]byte("0123456789"))
	body.CRC++
	for piece := 1; piece <= 12; piece++ {
		s := newSender(body)
		s.connected = true
		got, err := io.Copy(io.Discard, inPieces(s, piece))
		if !errors.Is(err, objects.ErrChecksum) || !errors.Is(s.failed, objects.ErrChecksum) || got >= body.Size || s.maybeSent() {
			t.Errorf("pieces of %d: %d bytes, %v", piece, got, err)
		}
	}
}

// inPieces reads at most n bytes at a time.
func inPieces(r io.Reader, n int) io.Reader {
	return readerFunc(func(p []byte) (int, error) { return r.Read(p[:min(n, len(p))]) })
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
