package s3store

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/quire-db/quire/backup/objects"
)

// Delete implements objects.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := s.remove(ctx, key); err != nil {
		return s.fail("delete", key, err)
	}
	return nil
}

func (s *Store) remove(ctx context.Context, key string) error {
	if err := objects.CheckKey(key); err != nil {
		return err
	}
	in := &s3.DeleteObjectInput{Bucket: &s.place.bucket, Key: s.name(key)}
	maybe := false // some attempt may have deleted it
	err := s.try(ctx, func(ctx context.Context) error {
		sent := false
		_, err := s.client.DeleteObject(withTrace(ctx, func() { sent = true }), in)
		if isCode(err, "NoSuchKey") {
			return nil
		}
		maybe = maybe || sent && err != nil && !isRefusal(err)
		return err
	})
	if err != nil && maybe {
		return because(objects.ErrUnknown, err)
	}
	return err
}
