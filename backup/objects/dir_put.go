package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/quire-db/quire/internal/vfs"
)

// copyBytes is how much of a body is in memory at a time.
const copyBytes = 256 << 10

// Put implements Store.
func (d *Dir) Put(ctx context.Context, key string, body Body) error {
	if err := d.put(ctx, key, body); err != nil {
		return d.fail("put", key, err)
	}
	return nil
}

func (d *Dir) put(ctx context.Context, key string, body Body) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	if body.Size < 0 || body.Size > MaxSize {
		return fmt.Errorf("%w: an object of %d bytes is not of 0 to %d", fs.ErrInvalid, body.Size, int64(MaxSize))
	}
	if d.failed.Load() {
		return ErrFailed
	}
	d.sweep.Do(d.removeLeftovers)
	temp, discard, err := d.newTemp()
	if err != nil {
		return err
	}
	defer discard()
	if err := d.fill(ctx, temp, body); err != nil {
		return err
	}
	return d.publish(temp, d.path(key))
}

// newTemp makes a file in putDir, locked until discard removes it.
func (d *Dir) newTemp() (temp string, discard func(), err error) {
	id, err := uuid.NewRandom()
	if err != nil {
		return "", nil, err
	}
	temp = filepath.Join(d.root, putDir, tempName(d.now(), id))
	release, err := d.disk.Lock(temp, "")
	if errors.Is(err, fs.ErrNotExist) {
		if err := d.makePutDir(); err != nil {
			return "", nil, err
		}
		release, err = d.disk.Lock(temp, "")
	}
	if err != nil {
		_ = d.disk.Remove(temp) // it may have been made, and nobody else knows it
		return "", nil, err
	}
	return temp, func() {
		// What cannot be removed is a leftover, for a later Dir.
		_ = d.disk.Remove(temp)
		_ = release()
	}, nil
}

// makePutDir need not make it durable: there is nothing in it to keep.
func (d *Dir) makePutDir() error {
	if err := d.present(); err != nil {
		return err
	}
	if err := d.disk.Mkdir(filepath.Join(d.root, putDir)); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// fill writes the body and makes it durable. A sync that fails is an ordinary
// error: the file has no name that counts, and another Put makes another.
func (d *Dir) fill(ctx context.Context, temp string, body Body) error {
	f, err := d.disk.Open(temp)
	if err != nil {
		return err
	}
	err = write(ctx, f, body)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = ctx.Err()
	}
	return err
}

func write(ctx context.Context, f io.WriterAt, body Body) error {
	buf := make([]byte, min(copyBytes, body.Size))
	var crc uint32
	for off := int64(0); off < body.Size; off += int64(len(buf)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		buf = buf[:min(int64(len(buf)), body.Size-off)]
		if n, err := body.Data.ReadAt(buf, off); n < len(buf) {
			return short(err)
		}
		crc = Checksum(crc, buf)
		if _, err := f.WriteAt(buf, off); err != nil {
			return err
		}
	}
	if crc != body.CRC {
		return fmt.Errorf("%w: their CRC32C is %08x and should be %08x", ErrChecksum, crc, body.CRC)
	}
	return nil
}

func short(err error) error {
	if err == nil || err == io.EOF {
		return because(ErrChecksum, io.ErrUnexpectedEOF)
	}
	return err
}

// publish gives the file its name: the one moment at which the object comes to
// be. It is durable when publish returns nil or ErrExists.
func (d *Dir) publish(temp, target string) error {
	taken, err := d.link(temp, target)
	if err != nil {
		return err
	}
	// Also when it is another's, who may have died before doing so.
	if err := d.syncDir(filepath.Dir(target)); err != nil {
		return because(ErrUnknown, err)
	}
	if taken {
		return ErrExists
	}
	return nil
}

// link makes the directories for target and links temp to it; again, when
// somebody removed one of them. Without an error target is an object.
func (d *Dir) link(temp, target string) (taken bool, err error) {
	dir := filepath.Dir(target)
	if err := d.ensure(dir); err != nil {
		return false, inTheWay(err)
	}
	err = d.disk.Link(temp, target)
	if errors.Is(err, fs.ErrNotExist) {
		d.forget()
		if err := d.ensure(dir); err != nil {
			return false, inTheWay(err)
		}
		err = d.disk.Link(temp, target)
	}
	return d.judge(temp, target, err)
}

// judge says what became of a link by its error: on a network file system "exists"
// may be the answer to the repetition of one that worked.
func (d *Dir) judge(temp, target string, err error) (taken bool, _ error) {
	exists := errors.Is(err, fs.ErrExist)
	switch {
	case err == nil:
		return false, nil
	case !exists && vfs.IsRefusal(err):
		return false, inTheWay(err)
	case d.isOne(temp, target):
		return false, nil
	case !exists:
		return false, because(ErrUnknown, err)
	}
	if e, err := d.disk.Lstat(target); err == nil && !e.Mode.IsRegular() {
		return false, because(ErrForeign, vfs.ErrNotRegular)
	}
	return true, nil
}

// inTheWay tells a file in the place of a directory from other errors.
func inTheWay(err error) error {
	if vfs.IsNotDirectory(err) {
		return because(ErrForeign, err)
	}
	return err
}

// isOne reports whether two names are of one file.
func (d *Dir) isOne(a, b string) bool {
	x, err := d.disk.FileID(a)
	if err != nil {
		return false
	}
	y, err := d.disk.FileID(b)
	return err == nil && x == y
}
