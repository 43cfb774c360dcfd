package demo

import (
	"context"
	"path"
	"path/filepath"
	"sync"

	"github.com/quire-db/quire/txn"
)

// importers read and commit at the same time.
const importers = 4

// importAll makes a volume of every file, each directory in one transaction.
func importAll(ctx context.Context, dir string, files []File, progress func(done int64)) (s ImportStep, err error) {
	m, _, err := txn.Open(filepath.Join(dir, storeDir), txn.Options{Create: true})
	if err != nil {
		return s, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	dirs := make(chan []File)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range importers {
		wg.Go(func() {
			for d := range dirs {
				if err := importDir(ctx, m, d); err != nil {
					cancel(err)
					continue
				}
				mu.Lock()
				s.add(d)
				progress(s.Bytes)
				mu.Unlock()
			}
		})
	}
	for _, d := range byDirectory(files) {
		dirs <- d
	}
	close(dirs)
	wg.Wait()
	err = context.Cause(ctx)
	s.Last = uint64(m.Stats().Head.LSN)
	if cerr := m.Close(); err == nil {
		err = cerr
	}
	return s, err
}

func (s *ImportStep) add(files []File) {
	s.Transactions++
	s.Files += len(files)
	for _, f := range files {
		s.Bytes += f.Bytes
		s.Pages += f.Pages()
	}
}

func importDir(ctx context.Context, m *txn.Manager, files []File) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := m.UpdateWith(ctx, txn.TxOptions{Message: "import " + path.Dir(files[0].Name)}, func(tx *txn.Tx) error {
		for _, f := range files {
			v, err := tx.CreateVolume(f.Name, txn.VolumeOptions{PageSize: PageSize})
			if err != nil {
				return err
			}
			if err := v.Truncate(f.Pages()); err != nil {
				return err
			}
			if err := f.eachPage(v.WritePage); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// byDirectory cuts the files into those of one directory each.
func byDirectory(files []File) (dirs [][]File) {
	index := map[string]int{}
	for _, f := range files {
		d := path.Dir(f.Name)
		i, ok := index[d]
		if !ok {
			i = len(dirs)
			index[d] = i
			dirs = append(dirs, nil)
		}
		dirs[i] = append(dirs[i], f)
	}
	return dirs
}
