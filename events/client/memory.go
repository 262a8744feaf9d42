package client

import "container/list"

// recent is a map that remembers the keys used last, up to a number. It is not
// for concurrent use.
type recent[K comparable, V any] struct {
	size  int
	byKey map[K]*list.Element
	order *list.List // of pair[K, V]; front: used last
}

type pair[K comparable, V any] struct {
	key   K
	value V
}

func newRecent[K comparable, V any](size int) *recent[K, V] {
	return &recent[K, V]{size: size, byKey: make(map[K]*list.Element), order: list.New()}
}

func (r *recent[K, V]) get(k K) (v V, ok bool) {
	e, ok := r.byKey[k]
	if !ok {
		return v, false
	}
	p, _ := e.Value.(pair[K, V]) // nothing else is in the list
	return p.value, true
}

func (r *recent[K, V]) put(k K, v V) {
	if e, ok := r.byKey[k]; ok {
		e.Value = pair[K, V]{k, v}
		r.order.MoveToFront(e)
		return
	}
	r.byKey[k] = r.order.PushFront(pair[K, V]{k, v})
	if r.order.Len() > r.size {
		last := r.order.Back()
		p, _ := r.order.Remove(last).(pair[K, V])
		delete(r.byKey, p.key)
	}
}
