package s3store

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/uuid"

	"github.com/quire-db/quire/backup/objects"
)

// putHeader names the metadata by which a Put knows its own object.
const putHeader = "quire-put"

// Put implements objects.Store.
func (s *Store) Put(ctx context.Context, key string, body objects.Body) error {
	if err := s.put(ctx, key, body); err != nil {
		return s.fail("put", key, err)
	}
	return nil
}

func (s *Store) put(ctx context.Context, key string, body objects.Body) error {
	if err := objects.CheckKey(key); err != nil {
		return err
	}
	if body.Size < 0 || body.Size > objects.MaxSize {
		return fmt.Errorf("%w: an object of %d bytes is not of 0 to %d", fs.ErrInvalid, body.Size, int64(objects.MaxSize))
	}
	if body.Size == 0 && body.CRC != 0 {
		return mismatch(0, body.CRC) // nobody will read it
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return err
	}
	p := putting{Store: s, key: key, body: body, id: id.String()}
	return p.settle(s.try(ctx, p.attempt))
}

// putting is one Put under way.
type putting struct {
	*Store
	key   string
	body  objects.Body
	id    string
	maybe bool // an attempt may have put the object
}

// attempt sends the object once.
func (p *putting) attempt(ctx context.Context) error {
	data := newSender(p.body)
	_, err := p.client.PutObject(withTrace(ctx, func() { data.connected = true }), p.input(data))
	switch {
	case err == nil:
		p.maybe = false
		return nil
	case status(err) == http.StatusPreconditionFailed:
		return p.taken(ctx)
	case data.failed != nil:
		return errPermanent{data.failed}
	case status(err) == http.StatusNotImplemented:
		return because(objects.ErrUnfit, err)
	case isDamage(err):
		return because(objects.ErrChecksum, err)
	}
	p.maybe = p.maybe || data.maybeSent() && !isRefusal(err)
	if isCut(err) {
		return p.cutOff(ctx, err)
	}
	return err
}

// isCut reports whether the other side closed the connection.
func isCut(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &op) && op.Op != "dial" && !op.Timeout()
}

// cutOff looks whether there is an object, when the server has closed the
// connection: one that refuses a large object may do so before all is sent, and
// what it said is lost with that.
func (p *putting) cutOff(ctx context.Context, why error) error {
	err := p.whose(ctx)
	if err != nil && !errors.Is(err, objects.ErrExists) {
		return why
	}
	return err
}

func (p *putting) input(data *sender) *s3.PutObjectInput {
	crc := binary.BigEndian.AppendUint32(nil, p.body.CRC)
	return &s3.PutObjectInput{
		Bucket:         &p.place.bucket,
		Key:            p.name(p.key),
		IfNoneMatch:    aws.String("*"),
		Body:           data,
		ContentLength:  &p.body.Size,
		ChecksumCRC32C: aws.String(base64.StdEncoding.EncodeToString(crc)),
		Metadata:       map[string]string{putHeader: p.id},
	}
}

// taken is what a refusal because of the key means: an attempt whose answer was lost
// may have put the object.
func (p *putting) taken(ctx context.Context) error {
	if !p.maybe {
		return objects.ErrExists
	}
	return p.whose(ctx)
}

// whose finds out whose the object is that takes the key: nil when it is our own,
// ErrExists when it is another's.
func (p *putting) whose(ctx context.Context) error {
	head, err := p.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &p.place.bucket, Key: p.name(p.key)})
	if err != nil {
		return err // and it stays unknown
	}
	p.maybe = false
	if head.Metadata[putHeader] == p.id {
		return nil
	}
	return objects.ErrExists
}

// settle makes of the last attempt's error that of all.
func (p *putting) settle(err error) error {
	switch {
	case err == nil:
		return nil
	case p.maybe && errors.Is(err, objects.ErrChecksum):
		// Not wrapped: it would say that nothing was put.
		return fmt.Errorf("%w: %v", objects.ErrUnknown, err)
	case p.maybe, isConflict(err):
		return because(objects.ErrUnknown, err)
	}
	return err
}
