package s3store

import (
	"errors"
	"fmt"
	"io"

	"github.com/quire-db/quire/backup/objects"
)

// sender reads a body for one attempt, perhaps twice: over http the SDK signs its
// hash first. The last bytes are handed out only if the checksum of all
// is the body's; without them the server has less than was announced, and puts
// nothing. The SDK closes what it wraps around a sender before it returns, behind
// a lock, so the fields need none.
type sender struct {
	body objects.Body
	at   int64  // bytes read in this pass
	crc  uint32 // of them

	connected bool  // a request may have been sent
	complete  bool  // and with it the last bytes
	failed    error // what was wrong with the body
}

func newSender(body objects.Body) *sender { return &sender{body: body} }

func (s *sender) Read(p []byte) (int, error) {
	if s.at == s.body.Size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), s.body.Size-s.at))
	if got, err := s.body.Data.ReadAt(p[:n], s.at); got < n {
		return 0, s.fail(short(err))
	}
	crc := objects.Checksum(s.crc, p[:n])
	if s.at+int64(n) == s.body.Size {
		if crc != s.body.CRC {
			return 0, s.fail(mismatch(crc, s.body.CRC))
		}
		s.complete = true
	}
	s.at, s.crc = s.at+int64(n), crc
	return n, nil
}

// Seek is for the SDK, which asks for the length and begins anew.
func (s *sender) Seek(offset int64, whence int) (int64, error) {
	switch {
	case offset == 0 && whence == io.SeekCurrent:
		return s.at, nil
	case offset == 0 && whence == io.SeekEnd:
		return s.body.Size, nil // followed by a seek to the beginning
	case offset == 0 && whence == io.SeekStart:
		s.at, s.crc, s.complete = 0, 0, false // what was read before is the hash's
		return 0, nil
	}
	return 0, errors.New("a body is read from its beginning")
}

func (s *sender) fail(err error) error {
	s.failed = err
	return err
}

// maybeSent reports whether the server may have the whole body.
func (s *sender) maybeSent() bool { return s.connected && (s.complete || s.body.Size == 0) }

func short(err error) error {
	if err == nil || err == io.EOF {
		return because(objects.ErrChecksum, io.ErrUnexpectedEOF)
	}
	return err
}

func mismatch(is, should uint32) error {
	return fmt.Errorf("%w: their CRC32C is %08x and should be %08x", objects.ErrChecksum, is, should)
}
