// A click on a heading of a table in <div class="sortable"> sorts its rows; another turns them round.
document.querySelectorAll(".sortable table").forEach((table) => {
  const body = table.tBodies[0];
  const value = (row, column) => {
    const text = row.cells[column].textContent.trim();
    const number = parseFloat(text.replaceAll(",", ""));
    return Number.isNaN(number) ? text : number;
  };
  table.querySelectorAll("thead th").forEach((heading, column) => {
    heading.tabIndex = 0;
    heading.setAttribute("role", "button");
    const sort = () => {
      const numbers = [...body.rows].some((row) => typeof value(row, column) === "number");
      const turned = heading.getAttribute("aria-sort") === (numbers ? "descending" : "ascending");
      const down = numbers !== turned; // numbers begin with the largest, names with A
      table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const order = (a, b) => {
        const [x, y] = [value(a, column), value(b, column)];
        const text = [x, y].map((each) => typeof each === "string");
        if (text[0] !== text[1]) return text[0] - text[1]; // what is not measured comes last
        const less = text[0] ? x.localeCompare(y) : x - y;
        return down ? -less : less;
      };
      [...body.rows].sort(order).forEach((row) => body.append(row));
    };
    heading.addEventListener("click", sort);
    heading.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(); }
    });
  });
});
