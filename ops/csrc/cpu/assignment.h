// One linear sum assignment problem for one instruction set: every row gets a column of its own, at the least total cost.
//
// Shortest augmenting paths on a dense matrix, as described by Jonker and Volgenant (Computing 38, 1987) and, for
// matrices with more columns than rows, by Crouse (IEEE Transactions on Aerospace and Electronic Systems 52, 2016).
// What is different here follows from there being few rows (objects) and many columns (queries):
//
// * A column that nobody holds has the dual 0, and a held one never becomes free again. So of all free columns only the
//   cheapest of a row can end a path from it. It is remembered, and looked for again only after it was taken.
// * A path runs through held columns only, of which there are at most as many as rows: they are numbered in the order
//   in which they were taken ("places"), and a row's costs of them are copied together when a path first visits it.
// * Rows whose cheapest column is still free take it at once, before any path is looked for.
//
// Letters: R rows, N columns, R <= N.

#pragma once

#include "vector.h"

namespace querydet::cpu::QUERYDET_INSTRUCTION_SET {

// As many numbers as Vector<double> has, loaded and made double.
inline Vector<double> load_double(const double* source) { return load(source); }
inline Vector<double> load_double(const float* source) {
  using Narrow = typename VectorOf<float, kLanes<double>>::type;
  return __builtin_convertvector(load_raw<Narrow>(source), Vector<double>);
}

template <typename T>
struct Cheapest {
  T cost;
  int64_t column;
};

template <typename T>
class Assignment {
 public:
  Assignment(const T* costs, int64_t rows, int64_t columns, void* memory)
      : costs_(costs), rows_(rows), columns_(columns), stride_(round_up(rows, kMaxLanes)) {
    char* next = static_cast<char*>(memory);
    for (double** array : {&row_dual_, &dual_, &shifted_, &distance_, &closed_distance_}) {
      *array = take<double>(next, stride_);
    }
    for (int64_t** array : {&came_from_, &holder_, &column_of_, &place_of_, &copied_, &closed_}) {
      *array = take<int64_t>(next, stride_);
    }
    cheapest_ = take<Cheapest<T>>(next, stride_);
    const int64_t padded = round_up(columns, kMaxLanes);
    barred_ = take<T>(next, padded);
    held_ = take<char>(next, padded);
    together_ = take<T>(next, rows * stride_);
    for (int64_t column = 0; column < padded; ++column) barred_[column] = column < columns ? T(0) : infinity<T>();
    std::memset(held_, 0, padded);
    std::memset(together_, 0, rows * stride_ * sizeof(T));
    // places that nobody took yet are infinitely far away
    for (int64_t place = 0; place < stride_; ++place) dual_[place] = -infinity<double>(), copied_[place] = 0;
  }

  // Writes the column of every row. False, with nothing written: a cost is NaN, infinite or so large that sums are.
  bool solve(int64_t* matched) {
    Vector<T> excess{};
    for (int64_t row = 0; row < rows_; ++row) {
      cheapest_[row] = find_cheapest(row, excess);
      row_dual_[row] = 0;
      place_of_[row] = -1;
    }
    for (int64_t lane = 0; lane < kLanes<T>; ++lane) {
      if (!(excess[lane] == 0)) return false;
    }
    for (int64_t row = 0; row < rows_; ++row) {
      if (held_[cheapest_[row].column]) continue;
      row_dual_[row] = cheapest_[row].cost;
      hold(row, take_column(cheapest_[row].column));
    }
    for (int64_t row = 0; row < rows_; ++row) {
      if (place_of_[row] < 0) augment(row);
    }
    for (int64_t row = 0; row < rows_; ++row) matched[row] = column_of_[place_of_[row]];
    return true;
  }

 private:
  template <typename N>
  static constexpr N infinity() {
    return static_cast<N>(__builtin_inff());
  }

  // The next `size` numbers of the memory, from a cache line's border on.
  template <typename N>
  static N* take(char*& next, int64_t size) {
    N* array = reinterpret_cast<N*>(next);
    next += round_up(size * static_cast<int64_t>(sizeof(N)), kCacheLine);
    return array;
  }

  // The first of the cheapest columns of a row that are not barred; `excess` becomes NaN by a cost that cannot be used.
  Cheapest<T> find_cheapest(int64_t row, Vector<T>& excess) const {
    constexpr T kHeadroom = sizeof(T) == sizeof(double) ? T(kAssignmentHeadroom) : T(1);  // sums are double
    const T* costs = costs_ + row * columns_;
    Vector<T> least = broadcast<T>(infinity<T>());
    Indices<T> number{}, found{};
    for (int64_t column = 0; column < columns_; column += kLanes<T>, number += 1) {
      const bool whole = column + kLanes<T> <= columns_;
      Vector<T> cost = whole ? load(costs + column) : load_part<T>(costs + column, columns_ - column, T(0));
      excess += cost * kHeadroom * T(0);
      cost += load(barred_ + column);
      const auto less = cost < least;
      least = less ? cost : least;
      found = less ? number : found;
    }
    Cheapest<T> best{least[0], found[0] * kLanes<T>};
    for (int64_t lane = 1; lane < kLanes<T>; ++lane) {
      const int64_t column = found[lane] * kLanes<T> + lane;
      if (least[lane] < best.cost || (least[lane] == best.cost && column < best.column)) best = {least[lane], column};
    }
    return best;
  }

  // The place of a column that was free.
  int64_t take_column(int64_t column) {
    held_[column] = 1;
    barred_[column] = infinity<T>();
    column_of_[places_] = column;
    dual_[places_] = 0;
    return places_++;
  }

  void hold(int64_t row, int64_t place) {
    holder_[place] = row;
    place_of_[row] = place;
  }

  // Looks for the shortest path from a row without a column to a free one, and moves every row on it one column on.
  void augment(int64_t start) {
    const int64_t padded = round_up(places_, kLanes<double>);
    for (int64_t place = 0; place < padded; ++place) {
      shifted_[place] = dual_[place];
      distance_[place] = infinity<double>();
    }
    double travelled = 0, total = infinity<double>();
    int64_t row = start, last = -1, closed = 0;
    while (true) {
      const double offset = travelled - row_dual_[row];
      if (offset + cheapest_[row].cost < total) {  // what is remembered is never more than what is still free
        if (held_[cheapest_[row].column]) {
          Vector<T> ignored{};
          cheapest_[row] = find_cheapest(row, ignored);
        }
        const double ending = offset + cheapest_[row].cost;
        if (ending < total) total = ending, last = row;
      }
      const int64_t place = relax(row, offset, total);
      if (place < 0) break;
      travelled = distance_[place];
      closed_[closed] = place;
      closed_distance_[closed++] = travelled;
      distance_[place] = infinity<double>();
      shifted_[place] = -infinity<double>();  // no way leads there any more
      row = holder_[place];
    }
    row_dual_[start] += total;
    for (int64_t i = 0; i < closed; ++i) {
      const double rest = total - closed_distance_[i];
      row_dual_[holder_[closed_[i]]] += rest;
      dual_[closed_[i]] -= rest;
    }
    int64_t place = take_column(cheapest_[last].column);
    for (row = last; row != start; row = came_from_[place]) {
      const int64_t left = place_of_[row];
      hold(row, place);
      place = left;
    }
    hold(start, place);
  }

  // Shortens the ways to held columns that lead through `row`. The nearest column, or -1 if it is not below `limit`.
  int64_t relax(int64_t row, double offset, double limit) {
    T* costs = together_ + row * stride_;
    for (int64_t& place = copied_[row]; place < places_; ++place) {
      costs[place] = costs_[row * columns_ + column_of_[place]];
    }
    const int64_t padded = round_up(places_, kLanes<double>);
    const Indices<double> here = Indices<double>{} + row;
    Vector<double> least = broadcast<double>(limit);
    for (int64_t place = 0; place < padded; place += kLanes<double>) {
      const Vector<double> way = load_double(costs + place) - load(shifted_ + place) + offset;
      const Vector<double> known = load(distance_ + place);
      const auto less = way < known;
      const Vector<double> shortest = less ? way : known;
      store(shortest, distance_ + place);
      store(less ? here : load(came_from_ + place), came_from_ + place);
      least = shortest < least ? shortest : least;
    }
    double nearest = limit;
    for (int64_t lane = 0; lane < kLanes<double>; ++lane) nearest = least[lane] < nearest ? least[lane] : nearest;
    if (!(nearest < limit)) return -1;
    int64_t place = 0;
    while (distance_[place] != nearest) ++place;
    return place;
  }

  const T* costs_;  // (R, N)
  int64_t rows_, columns_, stride_, places_ = 0;
  // of rows
  double* row_dual_;
  int64_t *place_of_, *copied_;  // the place that it holds or -1, and the number of its costs in `together_`
  Cheapest<T>* cheapest_;        // free column, or one that was free when it was looked for
  // of places
  double* dual_;
  int64_t *holder_, *column_of_;
  double *shifted_, *distance_;  // of one search: the dual, or -inf where a shortest way is known; shortest way so far
  int64_t* came_from_;           // of one search: the row before
  // of the places whose shortest way is known, in one search
  int64_t* closed_;
  double* closed_distance_;
  // of columns
  T* barred_;   // 0, or +inf where it is held
  char* held_;
  T* together_;  // (R, R padded), costs of rows and places
};

template <typename T>
bool assign(const T* costs, int64_t rows, int64_t columns, void* memory, int64_t* matched) {
  return Assignment<T>(costs, rows, columns, memory).solve(matched);
}

}  // namespace querydet::cpu::QUERYDET_INSTRUCTION_SET
